"""A server of the real kind on loopback, and clients that speak bytes; time passes when the test says so."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app.server import listen
from service.server import BoundedServer, Bounds, ConnectionLimits, Connections
from service.server.http_connection import HttpConnection
from tests.waiting import DEADLOCK, LoopClock

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class App:
    """Answers with the bytes of the body, or as its path says; remembers how each request ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.entered.set()
        match scope["path"]:
            case "/unread":
                await respond(send, b"unread")
            case "/wait":
                await self._wait(receive, send)
            case "/endless":
                await self._endless(scope, receive, send)
            case "/long":
                await respond(send, bytes(int(scope["query_string"])))
            case _:
                await self._echo(receive, send)

    async def _echo(self, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.ended.append("disconnected")
                return
            body += message["body"]
            if not message["more_body"]:
                break
        await respond(send, body)

    async def _wait(self, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        going = asyncio.create_task(self.go_on.wait())
        gone = asyncio.ensure_future(receive())
        await asyncio.wait((going, gone), return_when=asyncio.FIRST_COMPLETED)
        going.cancel()
        if gone.done():
            self.ended.append((await gone)["type"])
            return
        gone.cancel()
        await respond(send, b"waited")

    async def _endless(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.request"
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            await asyncio.sleep(0)
        self.ended.append((await gone)["type"])


async def respond(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class Client:
    """A connection that sends what it is told to, and reads only when it is told to."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.socket, data)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        read = b""
        while data := await self.some():
            read += data
        return read

    async def some(self, most: int = 65536) -> bytes:
        """Empty once the server has closed."""
        read: list[bytes] = []

        def arrived() -> bool:
            try:
                read.append(self.socket.recv(most))
            except BlockingIOError:
                return False
            except ConnectionResetError:
                read.append(b"")
            return True

        await turns(arrived)
        return read[0]

    async def until(self, words: bytes) -> bytes:
        read = b""
        while words not in read:
            data = await self.some()
            assert data, f"closed after {read!r}"
            read += data
        return read

    def close(self) -> None:
        self.socket.close()


class Site:
    def __init__(self, app: ASGIApp, limits: ConnectionLimits, most: int, **bounds: Any) -> None:
        self.clock = LoopClock()
        self.reasons: list[str] = []
        self.connections = Connections(most, self.reasons.append)
        config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False, ws="none")
        self.server = BoundedServer(config, Bounds(limits, self.connections, **bounds))
        self.address: tuple[str, int] = ("", 0)
        self._clients: list[Client] = []

    def client(self, receive_buffer: int = 0) -> Client:
        """Not connected yet."""
        made = socket.socket()
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.setblocking(False)
        self._clients.append(Client(made))
        return self._clients[-1]

    async def connect(self, data: bytes = b"", receive_buffer: int = 0) -> Client:
        """A connection that the server has accepted, and on which `data` was sent."""
        client, count = self.client(receive_buffer), len(self.accepted)
        await self.reach(client)
        await turns(lambda: len(self.accepted) > count or bool(self.reasons))
        await client.send(data)
        return client

    async def reach(self, client: Client) -> None:
        await asyncio.get_running_loop().sock_connect(client.socket, self.address)

    @property
    def accepted(self) -> list[HttpConnection]:
        return [each for each in self.server.server_state.connections if isinstance(each, HttpConnection)]

    @property
    def only(self) -> HttpConnection:
        (connection,) = self.accepted
        return connection

    async def passes(self, seconds: float, condition: Callable[[], bool]) -> None:
        """Lets `seconds` pass, again and again, until `condition` holds."""
        given_up = time.monotonic() + DEADLOCK
        while not condition():
            assert time.monotonic() < given_up
            self.clock.advance(seconds)
            for _ in range(4):
                await asyncio.sleep(0)


async def turns(condition: Callable[[], bool]) -> None:
    """Turns of the event loop until `condition` holds; no time passes."""
    given_up = time.monotonic() + DEADLOCK
    while not condition():
        assert time.monotonic() < given_up
        await asyncio.sleep(0)


def error_of(response: bytes) -> dict[str, Any]:
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    error: dict[str, Any] = json.loads(body)["error"]
    assert list(error) == ["message", "type", "param", "code"]
    return error


@asynccontextmanager
async def serving(
    app: ASGIApp, *, most: int = 8, port: socket.socket | None = None, bounds: Any = None, **limits: Any
) -> AsyncIterator[Site]:
    site = Site(app, ConnectionLimits(**limits), most, **(bounds or {}))
    with listen("127.0.0.1", 0) as listening:
        site.address = listening.getsockname()
        running = asyncio.create_task(site.server._serve([listening]))
        await turns(lambda: site.server.started)
        try:
            yield site
        finally:
            for client in site._clients:
                client.close()
            site.server.should_exit = True
            await site.passes(0.1, running.done)
            await running
