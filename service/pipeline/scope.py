"""The scope of one request: work done side by side that fails as one, and what is given back at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class RequestScope:
    """Callbacks that give something back (leases, permits); each is told whether the engine is known to be done with
    the request. An exit stack whose end is told how it came about."""

    def __init__(self) -> None:
        self._returns: list[Callable[[bool], None]] = []

    def on_exit(self, give_back: Callable[[bool], None]) -> None:
        self._returns.append(give_back)

    def close(self, *, finished: bool) -> None:
        """Gives everything back, in reverse; calling it again does nothing."""
        while self._returns:
            self._returns.pop()(finished)


async def gather_or_cancel(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order. When one fails the others are cancelled, awaited, and its error is raised as it is."""
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(item) for item in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
