"""The client at the other end: work is cancelled when it disconnects, and no write waits for it for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

T = TypeVar("T")

ABORT = "patchbay.abort"
"""Key of the server's extension in the scope: a function that ends the connection at once."""
LAST_WORDS_SECONDS = 5.0
"""For what is written after the deadline: that the request's time was up."""


class StalledClient(Exception):
    """The client had not read its answer when the request's time was up."""


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


def send_by(deadline: float, send: Send) -> Send:
    """`send`, which raises StalledClient when the client does not read until `deadline` (a time of time.monotonic).

    What is written after the deadline may take `LAST_WORDS_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline - time.monotonic()

    async def limited(message: Message) -> None:
        try:
            async with asyncio.timeout_at(until if loop.time() < until else loop.time() + LAST_WORDS_SECONDS):
                await send(message)
        except TimeoutError:
            raise StalledClient() from None

    return limited


def abort(scope: Scope) -> None:
    """Ends the connection at once where the server can; others close it when the application returns."""
    end = scope.get("extensions", {}).get(ABORT)
    if end is not None:
        end()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _retrieve(task: asyncio.Task[T]) -> None:
    """Marks a failure during cancellation as seen: nobody is left to be told, and asyncio would log it otherwise."""
    if not task.cancelled():
        task.exception()
