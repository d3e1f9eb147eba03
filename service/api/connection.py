"""The client at the other end: work is cancelled when it disconnects, and no write waits for it for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from service.deadline import Deadline

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


@contextmanager
def sending_by(when: float, send: Send) -> Iterator[Send]:
    """`send`, which raises StalledClient when the client does not read until `when` (a time of time.monotonic).

    What is written after that may take `LAST_WORDS_SECONDS`.
    """
    deadline = Deadline(when)

    async def limited(message: Message) -> None:
        try:
            if deadline.over:
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    await send(message)
            else:
                with deadline:
                    await send(message)
        except TimeoutError:
            raise StalledClient() from None

    try:
        yield limited
    finally:
        deadline.close()


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
