"""Server-sent events to one client: whole frames, keep-alive comments in silence, and one error event at most.

Nothing is sent before the first frame or the first silence, so that a failure until then is still a real status.
Knows nothing of what the frames say. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from starlette.types import Send

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
    """Bytes cut anywhere → whole frames, their blank line included. The same frames for every way of cutting."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        if END not in chunk and not (self._parts and chunk.startswith(b"\n")):
            self._parts.append(chunk)
            return []
        *whole, rest = b"".join([*self._parts, chunk]).split(END)
        self._parts = [rest] if rest else []
        return [frame + END for frame in whole]


def error_frame(error: PatchbayError) -> bytes:
    """OpenAI's error object as an event, as OpenAI's clients and vLLM's expect it."""
    return b"data: " + json.dumps(error_object(error), separators=(",", ":")).encode() + END


class EventStream:
    """An async context: its block writes; leaving it ends the stream.

    A failure of the block goes through when nothing was sent yet. Afterwards it becomes one error event and the end,
    without `[DONE]`, which only whole answers have; it can then be found in `failure`.
    """

    def __init__(
        self,
        send: Send,
        *,
        keepalive_seconds: float,
        explain: Callable[[Exception], PatchbayError],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`explain` says what the client is told of a failure."""
        self.started = False
        self.failure: PatchbayError | None = None
        self._send = send
        self._silence = keepalive_seconds
        self._explain = explain
        self._clock = clock
        self._sent_at = clock()
        # whole frames only: the heartbeat and the block take turns
        self._turn = asyncio.Lock()
        self._heartbeat: asyncio.Task[None] | None = None

    async def write(self, frames: bytes) -> None:
        """Sends whole frames. Waits while the client does not read."""
        async with self._turn:
            await self._write(frames)

    async def __aenter__(self) -> Self:
        self._heartbeat = asyncio.create_task(self._keep_alive())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is not None and not isinstance(error, Exception):
            await self._stop_heartbeat()
            return False
        # with the turn in hand the heartbeat cannot be in the middle of a write
        async with self._turn:
            await self._stop_heartbeat()
        if error is None:
            await self._end()
            return False
        if not self.started:
            return False
        self.failure = self._explain(error)
        await self._write(error_frame(self.failure))
        await self._end()
        return True

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._sent_at + self._silence - self._clock())
            async with self._turn:
                if self._clock() - self._sent_at >= self._silence:
                    await self._write(KEEP_ALIVE)

    async def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.gather(self._heartbeat, return_exceptions=True)

    async def _write(self, data: bytes) -> None:
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._sent_at = self._clock()

    async def _end(self) -> None:
        if not self.started:
            await self._write(b"")
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
