"""An engine that somebody else started: asked whether it lives, never started or stopped."""

from __future__ import annotations

import asyncio
from typing import Protocol

from service.errors import EngineUnavailable

RETRY_AFTER = 10.0
POLL = 0.25


class Health(Protocol):
    async def health(self) -> bool: ...


class ExternalEngine:
    """Implements `domain.EngineLife` by asking."""

    def __init__(self, client: Health) -> None:
        self._client = client

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
        return EngineUnavailable("the engine at engine_url does not answer", retry_after=RETRY_AFTER)
