"""Waiting for conditions. No test waits for time to pass: a machine may be as slow as it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

DEADLOCK = 300.0
"""Seconds after which a wait is given up as a deadlock; where the code is right nothing takes nearly as long."""


async def until(condition: Callable[[], bool], pause: float = 0.0) -> None:
    """Returns when `condition` holds; it is asked every `pause` seconds."""
    async with asyncio.timeout(DEADLOCK):
        while not condition():
            await asyncio.sleep(pause)


class LoopClock:
    """The time of the running event loop, stopped: it passes when the test says so, and timeouts strike at once."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._now = loop.time()
        loop.time = lambda: self._now  # type: ignore[method-assign]

    def advance(self, seconds: float) -> None:
        self._now += seconds
