"""One client's connection: uvicorn's httptools protocol, with limits on what it may send, wait for and leave unread.

uvicorn limits the time between two requests and nothing else. Here a request's headers are limited in bytes, number
and time, also those that never come; so is a chunked body's trailer; and whoever does not read its answer is cut off.
A body's size and time are the application's affair.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from weakref import ref

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api.connection import ABORT
from service.errors import HeadersTimeout, HeadersTooLarge, MalformedRequest, PatchbayError
from service.server.connections import Connections, Reason
from service.server.held_head import HeldHead
from service.server.limits import ConnectionLimits
from service.server.raw_response import raw_response

MOST_PIPELINED = 64
"""Requests that may wait for the one before them; each takes a few KB."""
LINGER_SECONDS = 2.0
LINGER_BYTES = 1024**2
"""How much is read and dropped after a refusal: closing at once would reset the connection before it is read."""


class HttpConnection(HttpToolsProtocol):
    """`uvicorn` are the arguments of its own protocol."""

    def __init__(self, *, limits: ConnectionLimits, connections: Connections, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.timeout_keep_alive = limits.idle_timeout  # type: ignore[assignment]
        self._limits = limits
        self._connections = connections
        self._running: RequestResponseCycle | None = None
        """The request that is answered now; `cycle` is the last one that came."""
        self._in_headers = self._in_message = False
        self._overhead = 0
        """Bytes since the last one of a body, or the last end of headers or of a message."""
        self._progress = False
        """Whether the piece that is being parsed held such a byte or end."""
        self._refusal: tuple[PatchbayError, Reason] | None = None
        """What to answer for the piece that is being parsed."""
        self._dropped: int | None = None
        """Bytes that came after a refusal; None: there was none."""
        self._headers_due: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._reason: Reason | None = None
        # weakly, or each connection would be garbage in a circle
        self._extensions: dict[str, Any] = {ABORT: partial(_abort, ref(self))}

    # what asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connections.waits(self)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        if self._dropped is not None:
            self._drop(len(data))
            return
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        while rest and not self.transport.is_closing() and self._dropped is None:
            # pieces so small that headers which are too long are seen before the parser has copied them often
            piece = rest[: self._limits.max_header_bytes - self._overhead]
            rest = rest[self._parse(piece) :]
        if self._waits_for_a_request() and self._dropped is None and not self.transport.is_closing():
            self._wait()

    def eof_received(self) -> None:
        self._reason = self._reason or Reason.CLIENT
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell_application()
        super().connection_lost(exc)
        for timer in (self._headers_due, self._stalled, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        self._connections.ended(self, self._reason or (Reason.CLIENT if exc else Reason.SERVER))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None and not self.transport.is_closing():
            self._stalled.cancel()
            self._stalled = None

    # what the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = self._in_message = True
        self.scope["extensions"] = self._extensions

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_headers:
            return  # of a trailer: the application has had its headers
        if len(self.headers) >= self._limits.max_headers:
            most = self._limits.max_headers
            self._stop(
                HeadersTooLarge(f"The request has more than {most} headers (max_headers)."),
                Reason.HEADERS_TOO_LARGE,
            )
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._progress = True
        if len(self.pipeline) >= MOST_PIPELINED:
            self._stop(
                MalformedRequest(
                    f"More than {MOST_PIPELINED} requests wait for an answer on this connection."
                ),
                Reason.PIPELINE,
            )
        super().on_headers_complete()
        self._cancel_headers_due()
        self._connections.works(self)

    def on_body(self, body: bytes) -> None:
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        self._progress = True
        super().on_message_complete()

    # what uvicorn calls

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if cycle.scope["method"] != "HEAD":
            cycle.transport = HeldHead(cycle.transport)  # type: ignore[assignment]
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reader()
        elif self._waits_for_a_request():
            self._connections.waits(self)
            if self._in_message or self._overhead:
                self._wait()

    def timeout_keep_alive_handler(self) -> None:
        self._close(Reason.IDLE)

    def shutdown(self) -> None:
        super().shutdown()
        self._watch_reader()

    # what others call

    def abort(self) -> None:
        """Ends the connection without the rest of the answer, which the client does not read."""
        self._cut(Reason.DEADLINE)

    def evict(self) -> None:
        self._cut(Reason.EVICTED)

    def _parse(self, piece: memoryview) -> int:
        """Returns how much of it was parsed."""
        self._progress = False
        parsed = len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            # no other protocol is spoken here, so what follows is a request like any other
            parsed = int(upgrade.args[0])
        except httptools.HttpParserError as error:
            self._refuse(*(self._refusal or (_malformed(error), Reason.MALFORMED)))
            return parsed
        self._overhead = 0 if self._progress else self._overhead + parsed
        if self._overhead >= self._limits.max_header_bytes:
            most = self._limits.max_header_bytes
            too_large = HeadersTooLarge(
                f"The request line and headers, or the trailer of a chunked body, have more than {most} bytes "
                "(max_header_bytes)."
            )
            self._refuse(too_large, Reason.HEADERS_TOO_LARGE)
        return parsed

    def _stop(self, error: PatchbayError, reason: Reason) -> None:
        """Stops the parser from within one of its calls."""
        self._refusal = (error, reason)
        raise error

    def _waits_for_a_request(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        """For the next request; a part of it, or the rest of a body that nobody read, may be there already."""
        self._unset_keepalive_if_required()
        if self._in_message or self._overhead:
            self._await_headers()
        else:
            self._cancel_headers_due()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _await_headers(self) -> None:
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(self._limits.header_timeout, self._headers_are_late)

    def _cancel_headers_due(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _headers_are_late(self) -> None:
        self._headers_due = None
        if not self._in_headers:
            self._close(Reason.HEADER_TIMEOUT)
            return
        seconds = self._limits.header_timeout
        error = HeadersTimeout(
            f"The request's headers were not complete after {seconds:g} s (header_timeout)."
        )
        self._refuse(error, Reason.HEADER_TIMEOUT)

    def _refuse(self, error: PatchbayError, reason: Reason) -> None:
        """Answers with `error` unless an answer is on its way, and ends the connection."""
        self._reason = self._reason or reason
        answering = self._running is not None and not self._running.response_complete
        if answering and (self._running.response_started or self.pipeline):  # type: ignore[union-attr]
            self._cut(reason)
            return
        self._tell_application()
        self._cancel_headers_due()
        self.transport.write(raw_response(error, self.server_state.default_headers))
        self.transport.write_eof()
        self.flow.resume_reading()
        self._dropped = 0
        self._headers_due = self.loop.call_later(LINGER_SECONDS, self._cut, reason)

    def _drop(self, count: int) -> None:
        assert self._dropped is not None
        self._dropped += count
        if self._dropped > LINGER_BYTES:
            self._cut(Reason.MALFORMED)

    def _close(self, reason: Reason) -> None:
        """Closes once what was written has been sent, or the client does not read it."""
        self._reason = self._reason or reason
        self.transport.close()
        self._watch_reader()

    def _cut(self, reason: Reason) -> None:
        self._reason = self._reason or reason
        self._tell_application()
        self.transport.abort()

    def _tell_application(self) -> None:
        """Whatever is running learns that the client is gone. uvicorn tells only the request that came last."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.waiting_for_100_continue = False
            self._running.message_event.set()

    def _watch_reader(self) -> None:
        if self._stalled is None and (unread := self.transport.get_write_buffer_size()):
            self._stalled = self.loop.call_later(self._limits.write_timeout, self._has_it_read, unread)

    def _has_it_read(self, before: int) -> None:
        self._stalled = None
        if self.transport.get_write_buffer_size() >= before:
            self._cut(Reason.WRITE_TIMEOUT)
        else:
            self._watch_reader()


def _abort(connection: ref[HttpConnection]) -> None:
    """What the application calls."""
    if (alive := connection()) is not None:
        alive.abort()


def _malformed(error: httptools.HttpParserError) -> MalformedRequest:
    return MalformedRequest(f"The request is not valid HTTP/1.1: {error}.")
