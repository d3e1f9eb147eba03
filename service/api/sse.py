"""Server-sent events to one client: whole frames, keep-alive comments during silence, and at most one error event.

Nothing is sent before the first frame or the first keep-alive, so that a failure until then still has a real status.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from starlette.types import Send

from service.api.completion import compact
from service.api.connection import StalledClient
from service.api.errors import error_object
from service.errors import PatchbayError

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
END = b"\n\n"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class FrameSplitter:
    """Bytes split anywhere → whole frames, including their blank line. The frames do not depend on the splits."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        if not self._parts and 0 <= chunk.find(END) == len(chunk) - len(END):
            # one whole frame, as the engine writes them
            return [chunk]
        if END not in chunk and not (self._parts and chunk.startswith(b"\n")):
            self._parts.append(chunk)
            return []
        *whole, rest = b"".join([*self._parts, chunk]).split(END)
        self._parts = [rest] if rest else []
        return [frame + END for frame in whole]


def error_frame(error: PatchbayError) -> bytes:
    """OpenAI's error object as an event, in the form that clients of OpenAI and of vLLM expect."""
    return b"data: " + compact(error_object(error)) + END


def named_frame(name: str, payload: Mapping[str, Any]) -> bytes:
    """An event with a name, which clients of some dialects go by."""
    return b"event: " + name.encode() + b"\ndata: " + compact(payload) + END


class EventStream:
    """An async context manager: its block writes, leaving it ends the stream.

    An exception in the block propagates if nothing was sent yet. Otherwise it becomes an error event and the end of the
    stream, without the `[DONE]` that only complete answers have, and is kept in `failure`. A StalledClient of
    `send` ends it in any case: nobody reads what would be written.
    """

    def __init__(
        self,
        send: Send,
        *,
        keepalive_seconds: float,
        explain: Callable[[Exception], PatchbayError],
        last_words: Callable[[PatchbayError], bytes] = error_frame,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`explain` turns a failure into what the client is told about it, `last_words` that into an event."""
        self.started = False
        self.failure: PatchbayError | None = None
        self._stalled = False
        self._ending = b""
        self._send = send
        self._silence = keepalive_seconds
        self._explain = explain
        self._last_words = last_words
        self._clock = clock
        self._sent_at = clock()
        # the heartbeat and the block take turns, so that frames are never interleaved
        self._lock = asyncio.Lock()
        self._heartbeat: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def write(self, frames: bytes) -> None:
        """Sends whole frames. Waits as long as the client does not read."""
        async with self._lock:
            await self._write(frames)

    def end_with(self, frames: bytes) -> None:
        """Whole frames that are sent in one piece with the end, when the block is left without an exception."""
        self._ending = frames

    async def __aenter__(self) -> Self:
        self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is not None and not isinstance(error, Exception):
            await self._stop_heartbeat()
            return False
        # while we hold the lock the heartbeat cannot be in the middle of a write
        async with self._lock:
            await self._stop_heartbeat()
        if self._stalled:
            raise StalledClient() from None
        if error is None:
            await self._write(self._ending, last=True)
            return False
        if not self.started:
            return False
        self.failure = self._explain(error)
        await self._write(self._last_words(self.failure), last=True)
        return True

    def _listen(self) -> None:
        """For silence: most streams end before there is any, so a task is made only when there is."""
        due = self._sent_at + self._silence - self._clock()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due), self._silent)

    def _silent(self) -> None:
        if self._clock() - self._sent_at >= self._silence:
            self._heartbeat = asyncio.create_task(self._keep_alive())
        else:
            self._listen()

    async def _keep_alive(self) -> None:
        async with self._lock:
            if self._clock() - self._sent_at >= self._silence:
                await self._write(KEEP_ALIVE)
        self._listen()

    async def _stop_heartbeat(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.gather(self._heartbeat, return_exceptions=True)

    async def _write(self, data: bytes, *, last: bool = False) -> None:
        if self._stalled:
            raise StalledClient()
        try:
            if not self.started:
                self.started = True
                await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        except StalledClient:
            # something may be missing from the answer now, so nothing may follow
            self._stalled = True
            raise
        self._sent_at = self._clock()
