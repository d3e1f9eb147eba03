"""An engine that somebody else started: asked again and again whether it lives, never started or stopped."""

from __future__ import annotations

import asyncio
from typing import Protocol

from service.errors import EngineUnavailable

RETRY_AFTER = 10.0
POLL = 0.25
WATCH = 2.0
"""Seconds between two looks at an engine that has answered."""
MISSES = 2
"""So many looks without an answer in a row make it unfit: one may be lost to a busy moment."""


class Health(Protocol):
    async def health(self) -> bool: ...


class ExternalEngine:
    """Implements `domain.EngineLife` by asking. `answers` is what `watch` saw last."""

    def __init__(self, client: Health, *, every: float = WATCH) -> None:
        self._client = client
        self._every = every
        self._misses = 0

    @property
    def answers(self) -> bool:
        return self._misses < MISSES

    async def watch(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(self._every)
            self._misses = 0 if await self._client.health() else self._misses + 1

    async def alive(self) -> bool:
        return await self._client.health()

    async def wait_ready(self, timeout: float) -> None:
        """Asks every quarter of a second. Raises EngineUnavailable after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not await self._client.health():
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise self.unavailable() from None

    def unavailable(self) -> EngineUnavailable:
        return EngineUnavailable("The engine at engine_url is not responding.", retry_after=RETRY_AFTER)
