"""Whose turn it is: free places go to the earliest deadline, and a deadline grows with what is asked for.

A large picture lets small ones pass that come soon after it, and none that comes later than its patience lasts; so
nobody starves, and nobody waits much longer than the own work takes. Earliest deadline first; work is not interrupted.
Knows nothing of what the places are.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterable
from itertools import count
from typing import Generic, TypeVar

Place = TypeVar("Place")


class Turns(Generic[Place]):
    """Used from one event loop."""

    def __init__(self, places: Iterable[Place], clock: Callable[[], float] = time.monotonic) -> None:
        self._free = list(places)
        self._clock = clock
        self._order = count()
        # (deadline, order of arrival, place to come)
        self._waiting: list[tuple[float, int, asyncio.Future[Place]]] = []

    async def take(self, patience: float) -> Place:
        """A place to use alone until it is given back; `patience` in seconds. Whoever leaves while waiting has none."""
        if self._free:
            return self._free.pop()
        coming: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self._clock() + patience, next(self._order), coming))
        try:
            return await coming
        except asyncio.CancelledError:
            if coming.done() and not coming.cancelled():
                self.give_back(coming.result())
            raise

    def give_back(self, place: Place) -> None:
        """Hands the place to whoever's turn it is, if anybody waits."""
        while self._waiting:
            _, _, coming = heapq.heappop(self._waiting)
            if not coming.done():
                coming.set_result(place)
                return
        self._free.append(place)
