"""How late the event loop wakes its tasks: the one delay that no stage of a request shows.

Imports nothing of Patchbay.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

PERIOD = 0.5
"""Seconds between two measurements."""


async def watch_lag(
    observe: Callable[[float], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
) -> None:
    """Tells `observe`, for ever, how many seconds later than asked it was woken."""
    while True:
        asked = clock() + PERIOD
        await sleep(PERIOD)
        observe(max(0.0, clock() - asked))
