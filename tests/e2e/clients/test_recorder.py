"""A recorder changes nothing between a client and a server, and knows what was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.e2e.clients.recorder import recording
from tests.e2e.clients.shapes import Shape
from tests.service.api.serving import served

pytestmark = pytest.mark.anyio


class Upstream:
    """Answers with what it got; at /endless with a stream, until its client leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        request = Request(scope, receive)
        await (await self._answer(request))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.url.path == "/endless":
            return StreamingResponse(self._endless(), media_type="text/event-stream")
        got = [request.method, request.url.path, request.url.query, (await request.body()).decode()]
        return JSONResponse([*got, request.headers.get("x-api-key")], 418, {"x-told": "yes"})

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            self.left.set()


async def test_everything_passes_and_what_was_posted_is_kept_once() -> None:
    async with served(Upstream()) as upstream:
        with recording(upstream) as (url, recorder):
            async with httpx.AsyncClient(base_url=url, headers={"x-api-key": "k"}) as client:
                for _ in range(2):
                    reply = await client.post("/v1/x?beta=true", content=b'{"a": 1}')
                got = await client.get("/v1/models")
            assert (reply.status_code, reply.headers["x-told"]) == (418, "yes")
            assert reply.json() == ["POST", "/v1/x", "beta=true", '{"a": 1}', "k"]
            assert got.json()[:2] == ["GET", "/v1/models"]
            assert recorder.taken() == [Shape("/v1/x", {"a": 1})]
            assert recorder.taken() == []


async def test_a_client_that_leaves_is_left_upstream() -> None:
    upstream = Upstream()
    async with served(upstream) as at:
        with recording(at) as (url, _):
            async with httpx.AsyncClient(base_url=url) as client, client.stream("GET", "/endless") as reply:
                assert await anext(reply.aiter_raw()) == b"data: 1\n\n"
                assert not upstream.left.is_set()
            await upstream.left.wait()
