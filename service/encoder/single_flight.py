"""Single-flight: one piece of work per key, shared by all callers while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class _Call(Generic[V]):
    def __init__(self, task: asyncio.Task[V]) -> None:
        self.task = task
        self.waiters = 0


class SingleFlight(Generic[V]):
    """The work outlives any one of its waiters and is cancelled when the last one leaves.

    `discard` is called with each result that is no longer used. For use in one event loop.
    """

    def __init__(self, discard: Callable[[V], None]) -> None:
        self._discard = discard
        self._calls: dict[str, _Call[V]] = {}

    @asynccontextmanager
    async def join(self, key: str, start: Callable[[], Coroutine[Any, Any, V]]) -> AsyncIterator[V]:
        """The result of the work for `key`, started with `start` if it is not running yet; kept until the block ends.

        Raises what the work raised, to each of its waiters.
        """
        call = self._calls.get(key) or self._begin(key, start)
        call.waiters += 1
        try:
            yield await asyncio.shield(call.task)
        finally:
            call.waiters -= 1
            if not call.waiters:
                self._abandon(key, call)

    def __contains__(self, key: object) -> bool:
        """Whether the work for `key` is running."""
        return key in self._calls

    async def settled(self) -> None:
        """Waits until all running work has ended, one way or another."""
        await asyncio.gather(*(call.task for call in self._calls.values()), return_exceptions=True)

    def _begin(self, key: str, start: Callable[[], Coroutine[Any, Any, V]]) -> _Call[V]:
        call = self._calls[key] = _Call(asyncio.create_task(start()))

        def over(task: asyncio.Task[V]) -> None:
            self._forget(key, call)
            if not task.cancelled():
                task.exception()  # retrieved, even if every waiter has left

        call.task.add_done_callback(over)
        return call

    def _abandon(self, key: str, call: _Call[V]) -> None:
        self._forget(key, call)  # the next caller starts again
        task = call.task
        if not task.cancel() and not task.cancelled() and task.exception() is None:
            self._discard(task.result())

    def _forget(self, key: str, call: _Call[V]) -> None:
        if self._calls.get(key) is call:
            del self._calls[key]
