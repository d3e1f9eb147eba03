"""Earliest-deadline-first scheduling of a fixed number of workers.

A deadline is the time of arrival plus the caller's patience, which grows with the size of its work. So small work
overtakes large work that came shortly before it, nothing starves, and nobody waits much longer than its work takes.
Work is not interrupted; some workers are reserved for short work, as a few long pieces, once begun, would otherwise
hold up everything else.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Hashable, Iterable
from itertools import count
from typing import Generic, TypeVar

Worker = TypeVar("Worker", bound=Hashable)


class DeadlineQueue(Generic[Worker]):
    """Used from one event loop."""

    def __init__(
        self,
        workers: Iterable[Worker],
        *,
        short: float = 0.0,
        reserved: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`reserved` of the workers only serve callers with a patience of at most `short` seconds.

        Raises ValueError when that leaves no worker for the others.
        """
        self._free = list(workers)
        self._max_long = len(self._free) - reserved
        if reserved and self._max_long < 1:
            raise ValueError(
                f"{reserved} of {len(self._free)} workers are reserved for short work, and none is left for the rest"
            )
        self._short = short
        self._clock = clock
        self._order = count()
        self._on_long_work: set[Worker] = set()
        # of short and of long work: (deadline, order of arrival, the worker to come)
        self._waiting: dict[bool, list[tuple[float, int, asyncio.Future[Worker]]]] = {False: [], True: []}

    async def acquire(self, patience: float) -> Worker:
        """A worker for the caller alone until it is released; `patience` in seconds.

        A caller that is cancelled while it waits holds none.
        """
        long = patience > self._short
        if self._free and self._admits(long):
            return self._assign(self._free.pop(), long)
        coming: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting[long], (self._clock() + patience, next(self._order), coming))
        try:
            return await coming
        except asyncio.CancelledError:
            if coming.done() and not coming.cancelled():
                self.release(coming.result())
            raise

    def release(self, worker: Worker) -> None:
        """Hands the worker to the caller with the earliest deadline among those that it may serve."""
        self._on_long_work.discard(worker)
        while queues := [(self._waiting[long][0], long) for long in (False, True) if self._may_serve(long)]:
            (_, _, coming), long = min(queues, key=lambda queue: queue[0][:2])
            heapq.heappop(self._waiting[long])
            if not coming.done():
                coming.set_result(self._assign(worker, long))
                return
        self._free.append(worker)

    def _may_serve(self, long: bool) -> bool:
        return bool(self._waiting[long]) and self._admits(long)

    def _admits(self, long: bool) -> bool:
        return not long or len(self._on_long_work) < self._max_long

    def _assign(self, worker: Worker, long: bool) -> Worker:
        if long:
            self._on_long_work.add(worker)
        return worker
