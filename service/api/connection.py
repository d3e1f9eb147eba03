"""Work that is cancelled when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """The result of `work`, which runs in its own task and is cancelled as soon as the client disconnects.

    Returns or raises only after that task has ended. The request's body must have been read before. Raises
    starlette's ClientDisconnect, and whatever `work` raises.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        finished = task.done()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.wait((task, gone))
    if finished:
        return task.result()
    _retrieve(task)
    raise ClientDisconnect()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _retrieve(task: asyncio.Task[T]) -> None:
    """Marks a failure during cancellation as seen: nobody is left to be told, and asyncio would log it otherwise."""
    if not task.cancelled():
        task.exception()
