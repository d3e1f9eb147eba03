"""The client against real sockets: a server of a few lines that does exactly what each test says."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import pytest

from service.engine.client import VLLMClient
from service.errors import EngineFailed, EngineLost, EngineUnavailable
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def request(self) -> tuple[str, dict[str, str], bytes]:
        """Reads one request: its first line, its headers in lower case, its body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return head[0], headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def send(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n" % len(data), data, b"\r\n")

    async def answer(self, body: bytes) -> None:
        await self.send(OK, b"Content-Length: %d\r\n\r\n" % len(body), body)

    def reset(self) -> None:
        """Ends the connection as a killed process does."""
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Returns when the client has closed the connection."""
        try:
            assert await self.reader.read() == b""
        except ConnectionResetError:
            return


Behaviour = Callable[[Peer], Awaitable[None]]
Serve = Callable[[Behaviour], AbstractAsyncContextManager[VLLMClient]]


@asynccontextmanager
async def serve(behaviour: Behaviour) -> AsyncIterator[VLLMClient]:
    """A client of a server that treats every connection by `behaviour`; a failure in there fails the test."""
    async with asyncio.timeout(DEADLOCK), asyncio.TaskGroup() as tasks:

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def one() -> None:
                async with aclosing_writer(writer):
                    await behaviour(Peer(reader, writer))

            tasks.create_task(one())

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with server, VLLMClient(f"http://{host}:{port}/", retry_after=lambda: 3.5) as client:
            yield client


@asynccontextmanager
async def aclosing_writer(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()


async def test_a_request_arrives_whole_with_the_allowed_headers_alone() -> None:
    seen = asyncio.get_running_loop().create_future()

    async def engine(peer: Peer) -> None:
        seen.set_result(await peer.request())
        await peer.answer(b"{}")

    payload = {"messages": [{"role": "user", "content": "größer \ud800 \u0000"}], "seed": 1}
    headers = {
        "traceparent": "00-ab-cd-01",
        "X-Request-Id": "r1",
        "Authorization": "Bearer s",
        "Cookie": "c=1",
    }
    async with serve(engine) as client:
        reply = await client.post("/v1/chat/completions", payload, headers)
        await reply.aclose()

    line, got, body = await seen
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert json.loads(body) == payload
    assert got["content-type"] == "application/json" and got["accept-encoding"] == "identity"
    assert got["traceparent"] == "00-ab-cd-01" and got["x-request-id"] == "r1"
    assert not {"authorization", "cookie"} & got.keys()


@pytest.mark.parametrize("status", [200, 400, 404, 500, 302])
async def test_status_type_and_bytes_are_forwarded(status: int) -> None:
    async def engine(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 %d Whatever\r\nContent-Type: text/plain; charset=utf-8\r\n" % status,
            b"Location: http://elsewhere.invalid/\r\nContent-Length: 3\r\n\r\nabc",
        )

    async with serve(engine) as client:
        reply = await client.get("/metrics")
        assert (reply.status, reply.content_type) == (status, "text/plain; charset=utf-8")
        assert b"".join([chunk async for chunk in reply.body()]) == b"abc"


async def test_bytes_come_as_soon_as_they_are_sent() -> None:
    read = asyncio.Event()

    async def engine(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.chunk(b"data: 1\n\n")
        await read.wait()  # the second is not sent before the client has seen the first
        await peer.chunk(b"data: 2\n\n")
        await peer.chunk(b"")

    async with serve(engine) as client:
        reply = await client.post("/v1/chat/completions", {}, {})
        chunks = reply.body()
        assert await anext(chunks) == b"data: 1\n\n"
        read.set()
        assert [chunk async for chunk in chunks] == [b"data: 2\n\n"]


async def test_large_bodies_pass_both_ways() -> None:
    large = "x" * 30_000_000

    async def engine(peer: Peer) -> None:
        _, _, body = await peer.request()
        await peer.answer(body)

    async with serve(engine) as client:
        reply = await client.post("/v1/chat/completions", {"text": large}, {})
        assert json.loads(b"".join([chunk async for chunk in reply.body()])) == {"text": large}


async def test_closing_a_reply_early_closes_the_connection() -> None:
    noticed = asyncio.Event()

    async def engine(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.chunk(b"data: 1\n\n")
        await peer.gone()
        noticed.set()

    async with serve(engine) as client:
        reply = await client.post("/v1/chat/completions", {}, {})
        async with aclosing(reply.body()) as chunks:
            await anext(chunks)
        await reply.aclose()
        await reply.aclose()
        await noticed.wait()


async def test_a_cancelled_request_closes_the_connection() -> None:
    arrived, noticed = asyncio.Event(), asyncio.Event()

    async def engine(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await peer.gone()
        noticed.set()

    async with serve(engine) as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", {}, {}))
        await arrived.wait()
        asking.cancel()
        await noticed.wait()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_reply_read_to_its_end_leaves_the_connection_for_the_next() -> None:
    connections = 0

    async def engine(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            await peer.request()
            await peer.answer(b"{}")

    async with serve(engine) as client:
        for _ in range(2):
            reply = await client.get("/v1/models")
            assert [chunk async for chunk in reply.body()] == [b"{}"]
            await reply.aclose()
    assert connections == 1


async def test_nobody_answers() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refused
        async with VLLMClient(
            f"http://127.0.0.1:{unused.getsockname()[1]}", retry_after=lambda: 3.5
        ) as client:
            with pytest.raises(EngineUnavailable) as caught:
                await client.post("/v1/chat/completions", {}, {})
            assert caught.value.retry_after == 3.5
            assert not isinstance(caught.value, EngineLost)
            assert "127.0.0.1" not in caught.value.message
            assert not await client.health()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Ty"])
async def test_the_engine_ends_before_its_status_has_come(sent: bytes) -> None:
    async def engine(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        peer.reset()

    async with serve(engine) as client:
        with pytest.raises(EngineLost) as caught:
            await client.post("/v1/chat/completions", {}, {})
        assert caught.value.retry_after == 3.5


@pytest.mark.parametrize("head", [STREAM, OK + b"Content-Length: 100\r\n\r\n"])
@pytest.mark.parametrize("reset", [True, False])
async def test_the_engine_ends_in_the_middle(head: bytes, reset: bool) -> None:
    read = asyncio.Event()

    async def engine(peer: Peer) -> None:
        await peer.request()
        await peer.send(head, b"9\r\ndata: 1\n\n\r\n")
        await read.wait()
        if reset:
            peer.reset()

    async with serve(engine) as client:
        reply = await client.post("/v1/chat/completions", {}, {})
        chunks = reply.body()
        assert b"data: 1\n\n" in await anext(chunks)
        read.set()
        with pytest.raises(EngineFailed):
            await anext(chunks)
        await reply.aclose()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
async def test_health_is_what_the_engine_says(status: int, healthy: bool) -> None:
    async def engine(peer: Peer) -> None:
        line, _, _ = await peer.request()
        assert line == "GET /health HTTP/1.1"
        await peer.send(b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % status)

    async with serve(engine) as client:
        assert await client.health() is healthy
