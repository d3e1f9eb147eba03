"""A server between a client and another one: everything passes as it is, and what was asked is kept."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.e2e.clients.shapes import Shape

OF_A_CONNECTION = frozenset({"host", "content-length", "transfer-encoding", "connection", "keep-alive"})


class Recorder:
    """An ASGI application in front of the server at `upstream`. A client that leaves is left there, too."""

    def __init__(self, upstream: str) -> None:
        self._client = httpx.AsyncClient(base_url=upstream, timeout=None)
        self._asked: list[Shape] = []

    def taken(self) -> list[Shape]:
        """What was asked by POST since the last time, each once, in order."""
        asked, self._asked = self._asked, []
        return [shape for place, shape in enumerate(asked) if shape not in asked[:place]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        request = Request(scope, receive)
        body = await request.body()
        if request.method == "POST":
            self._asked.append(Shape(request.url.path, await request.json()))
        headers = [(name, value) for name, value in request.headers.items() if name not in OF_A_CONNECTION]
        target = httpx.URL(path=request.url.path, query=request.url.query.encode())
        asked = self._client.build_request(request.method, target, headers=headers, content=body)
        reply = await self._client.send(asked, stream=True)
        told: Any = {name: value for name, value in reply.headers.items() if name not in OF_A_CONNECTION}
        await StreamingResponse(_pieces(reply), reply.status_code, told)(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._client.aclose()
        await send({"type": "lifespan.shutdown.complete"})


async def _pieces(reply: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in reply.aiter_raw():
            yield piece
    finally:
        await reply.aclose()


@contextmanager
def recording(upstream: str) -> Iterator[tuple[str, Recorder]]:
    """The URL of a recorder in front of `upstream`, and itself."""
    recorder, listener = Recorder(upstream), socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(recorder, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", recorder
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
