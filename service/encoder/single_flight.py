"""One piece of work per key, shared by all who ask for it while it runs. Knows nothing of images."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class _Flight(Generic[V]):
    def __init__(self, task: asyncio.Task[V]) -> None:
        self.task = task
        self.passengers = 0


class Flights(Generic[V]):
    """The work outlives any one of its waiters and is cancelled when the last one leaves.

    `discard` gets each result when nobody looks at it any more. Used from one event loop.
    """

    def __init__(self, discard: Callable[[V], None]) -> None:
        self._discard = discard
        self._flights: dict[str, _Flight[V]] = {}

    @asynccontextmanager
    async def join(self, key: str, start: Callable[[], Coroutine[Any, Any, V]]) -> AsyncIterator[V]:
        """The result of the work under `key`, which `start` begins if nobody has; kept until the block ends.

        Raises what the work raised, to each of its waiters.
        """
        flight = self._flights.get(key) or self._depart(key, start)
        flight.passengers += 1
        try:
            yield await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            if not flight.passengers:
                self._empty(key, flight)

    async def landed(self) -> None:
        """Waits until the work that runs now has ended, one way or another."""
        await asyncio.gather(*(flight.task for flight in self._flights.values()), return_exceptions=True)

    def _depart(self, key: str, start: Callable[[], Coroutine[Any, Any, V]]) -> _Flight[V]:
        flight = self._flights[key] = _Flight(asyncio.create_task(start()))

        def over(task: asyncio.Task[V]) -> None:
            self._forget(key, flight)
            if not task.cancelled():
                task.exception()  # seen, even if everybody has left

        flight.task.add_done_callback(over)
        return flight

    def _empty(self, key: str, flight: _Flight[V]) -> None:
        self._forget(key, flight)  # whoever comes now starts anew
        task = flight.task
        if not task.cancel() and not task.cancelled() and task.exception() is None:
            self._discard(task.result())

    def _forget(self, key: str, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
