"""Whose turn it is: free places go to the earliest deadline, and a deadline grows with what is asked for.

A large picture lets small ones pass that come soon after it, and none that comes later than its patience lasts; so
nobody starves, and nobody waits much longer than the own work takes. Earliest deadline first. Work is not interrupted,
so some places are kept for small pictures: else a few large ones, once begun, would hold up all others.
Knows nothing of what the places are.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Hashable, Iterable
from itertools import count
from typing import Generic, TypeVar

Place = TypeVar("Place", bound=Hashable)


class Turns(Generic[Place]):
    """Used from one event loop."""

    def __init__(
        self,
        places: Iterable[Place],
        *,
        brief: float = 0.0,
        kept: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`kept` of the places are only for those with a patience of at most `brief` seconds.

        Raises ValueError when that leaves no place for the others.
        """
        self._free = list(places)
        self._most_long = len(self._free) - kept
        if kept and self._most_long < 1:
            raise ValueError(
                f"{kept} of {len(self._free)} places are kept for some, and none is left for others"
            )
        self._brief = brief
        self._clock = clock
        self._order = count()
        self._taken_long: set[Place] = set()
        # of the brief and of the long: (deadline, order of arrival, place to come)
        self._waiting: dict[bool, list[tuple[float, int, asyncio.Future[Place]]]] = {False: [], True: []}

    async def take(self, patience: float) -> Place:
        """A place to use alone until it is given back; `patience` in seconds. Whoever leaves while waiting has none."""
        long = patience > self._brief
        if self._free and self._admits(long):
            return self._hand(self._free.pop(), long)
        coming: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting[long], (self._clock() + patience, next(self._order), coming))
        try:
            return await coming
        except asyncio.CancelledError:
            if coming.done() and not coming.cancelled():
                self.give_back(coming.result())
            raise

    def give_back(self, place: Place) -> None:
        """Hands the place to whoever's turn it is, if anybody waits who may have it."""
        self._taken_long.discard(place)
        while queues := [(self._waiting[long][0], long) for long in (False, True) if self._calls(long)]:
            (_, _, coming), long = min(queues, key=lambda queue: queue[0][:2])
            heapq.heappop(self._waiting[long])
            if not coming.done():
                coming.set_result(self._hand(place, long))
                return
        self._free.append(place)

    def _calls(self, long: bool) -> bool:
        return bool(self._waiting[long]) and self._admits(long)

    def _admits(self, long: bool) -> bool:
        return not long or len(self._taken_long) < self._most_long

    def _hand(self, place: Place, long: bool) -> Place:
        if long:
            self._taken_long.add(place)
        return place
