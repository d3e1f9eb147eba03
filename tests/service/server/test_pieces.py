"""A request is judged by its bytes, however they are cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from service.server import ConnectionLimits, Connections
from service.server.http_connection import HttpConnection

LIMIT = 1024


class Wire(asyncio.Transport):
    """Takes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


def head(size: int) -> bytes:
    begin, end = b"GET / HTTP/1.1\r\nx: ", b"\r\n\r\n"
    return begin + b"a" * (size - len(begin) - len(end)) + end


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[start:end] for start, end in zip(marks, marks[1:], strict=False)]


async def feed(chunks: list[bytes]) -> tuple[Wire, int, int]:
    """What was written, how many requests began, and the most that was given to the parser before its refusal."""
    begun = 0

    async def app(scope: object, receive: object, send: Any) -> None:
        nonlocal begun
        begun += 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
    connection = HttpConnection(
        limits=ConnectionLimits(max_header_bytes=LIMIT),
        connections=Connections(1),
        config=config,
        server_state=ServerState(),
        app_state={},
    )
    wire, overhead = Wire(), 0
    connection.connection_made(wire)
    for chunk in chunks:
        if wire.closing:
            break
        connection.data_received(chunk)
        overhead = max(overhead, connection._overhead)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    connection.connection_lost(None)
    return wire, begun, overhead


@given(st.integers(-40, 40), st.lists(st.integers(0, 10**4), max_size=8))
@example(0, [])
@example(1, [])
@example(1, [LIMIT])
def test_the_limit_is_exact(excess: int, cuts: list[int]) -> None:
    wire, begun, overhead = asyncio.run(feed(pieces(head(LIMIT + excess), cuts)))
    assert begun == (excess <= 0)
    assert wire.written.startswith(b"HTTP/1.1 204" if excess <= 0 else b"HTTP/1.1 431")
    assert overhead <= LIMIT


@given(
    st.lists(st.sampled_from([40, 200, LIMIT]), min_size=1, max_size=5),
    st.lists(st.integers(0, 10**4), max_size=8),
)
def test_one_request_after_another_has_the_whole_limit(sizes: list[int], cuts: list[int]) -> None:
    wire, begun, _ = asyncio.run(feed([*pieces(b"".join(map(head, sizes)), cuts), b""]))
    assert b"431" not in wire.written
    assert wire.written.count(b"HTTP/1.1 204") == begun
    assert begun >= 1


@given(st.binary(max_size=3000), st.lists(st.integers(0, 10**4), max_size=5))
@pytest.mark.filterwarnings("error")
def test_any_bytes_are_answered_or_waited_for(data: bytes, cuts: list[int]) -> None:
    wire, begun, overhead = asyncio.run(feed(pieces(data + b"\n", cuts)))
    assert overhead <= LIMIT
    assert begun or wire.written in (b"",) or wire.written.startswith((b"HTTP/1.1 4", b"HTTP/1.1 204"))
