"""An engine that somebody else runs: its health is polled, but it is never started or stopped."""

from __future__ import annotations

import asyncio
from typing import Protocol

from service.errors import EngineUnavailable

RETRY_AFTER = 10.0
POLL = 0.25
WATCH = 2.0
"""Seconds between two health checks."""
MISSES = 2
"""Health checks that must fail in a row before the engine counts as down: a busy one may miss a single check."""


class Health(Protocol):
    async def health(self) -> bool: ...


class ExternalEngine:
    """Implements `domain.EngineLife` by health checks. `ready` is the result of the latest ones in `watch`."""

    def __init__(self, client: Health, *, every: float = WATCH) -> None:
        self._client = client
        self._every = every
        self._misses = 0
        self.incarnation = 0
        """How often it has come back after an outage: a new run, for all that can be seen from outside."""

    @property
    def ready(self) -> bool:
        """Whether it answered its latest health checks."""
        return self._misses < MISSES

    async def watch(self) -> None:
        """Checks the engine's health at regular intervals, until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            healthy, was_ready = await self._client.health(), self.ready
            self._misses = 0 if healthy else self._misses + 1
            self.incarnation += healthy and not was_ready

    async def alive(self) -> bool:
        return await self._client.health()

    async def wait_ready(self, timeout: float) -> None:
        """Returns once the engine is healthy. Raises EngineUnavailable after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not await self._client.health():
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise self.unavailable() from None

    def unavailable(self) -> EngineUnavailable:
        return EngineUnavailable("The engine at engine_url is not responding.", retry_after=RETRY_AFTER)
