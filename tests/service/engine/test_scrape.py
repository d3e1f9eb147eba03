"""vLLM's page comes whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.engine.scrape import scrape
from service.errors import EngineFailed, EngineUnavailable
from tests.service.fakes import Engine, Reply

pytestmark = pytest.mark.anyio


class Scraped(Engine):
    def __init__(self, reply: Reply | BaseException) -> None:
        super().__init__()
        self.reply = reply
        self.routes: list[str] = []

    async def get(self, route: str) -> Reply:
        self.routes.append(route)
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply


class Silent(Reply):
    async def body(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


async def test_the_page_comes_as_it_was_written() -> None:
    reply = Reply(b"vllm:a 1\n", b"vllm:b 2\n", content_type="text/plain; version=0.0.4")
    engine = Scraped(reply)
    assert await scrape(engine) == (b"vllm:a 1\nvllm:b 2\n", "text/plain; version=0.0.4")
    assert engine.routes == ["/metrics"]
    assert reply.closed


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (EngineUnavailable("nobody answers", retry_after=1), "nobody answers"),
        (Reply(b"", status=500), "with status 500"),
        (Reply(b"x" * 60, b"x" * 60), "more than 100 bytes"),
        (Reply(b"x", EngineFailed("died")), "stopped while"),
        (Silent(), "within 0.01 s"),
    ],
)
async def test_whatever_keeps_it_from_coming_is_one_error(reply: Reply | BaseException, words: str) -> None:
    with pytest.raises(EngineUnavailable, match=words):
        await scrape(Scraped(reply), seconds=0.01 if isinstance(reply, Silent) else 60, max_bytes=100)
    assert not isinstance(reply, Reply) or reply.closed
