"""Closed loops on connections that stay open, with as little between socket and answer as can be."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from benchmarks.gateway.engine import Engine, answer
from benchmarks.gateway.wires import END, WIRES

ALL = sys.maxsize
FIRST = 2
"""The event of the engine's that brings the first token; the role is one."""


@dataclass(frozen=True, slots=True)
class Load:
    """So many requests of each client, each for an answer of so many tokens."""

    name: str
    requests: int
    tokens: int
    stream: bool = True
    api: str = "chat completions"


@dataclass(slots=True)
class Heard:
    """What the clients of a load got. `faults` are answers that were not what the engine said, in words."""

    answers: int
    events: int
    writes: int
    faults: list[str]
    firsts: list[float]
    """Of each streamed answer, seconds to its first token."""


class _Connection(asyncio.Protocol):
    """One request at a time: its body, and in how many pieces it was written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, question: str, load: Load, model: str) -> asyncio.Future[None]:
        self.body, self.writes, self.first, self._question = b"", 0, 0.0, question
        self._wire = WIRES[load.api]
        self._parser = httptools.HttpResponseParser(self)
        self._done = asyncio.get_running_loop().create_future()
        asked = {"model": model, "stream": load.stream, "temperature": 0}
        body = json.dumps(asked | self._wire.asked(question, load.tokens)).encode()
        head = f"POST {self._wire.path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
        self._began = time.perf_counter()
        self._transport.write(head.encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        return self._done

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError("the gateway closed a connection in mid-answer"))

    def on_chunk_header(self) -> None:
        self.writes += 1

    def on_body(self, body: bytes) -> None:
        self.body += body
        heard = self._wire.heard(self.body)
        if heard >= FIRST and not self.first:
            self.first = time.perf_counter() - self._began
        self._engine.heard(self._question, heard)

    def on_message_complete(self) -> None:
        self._engine.heard(self._question, ALL)
        if not self._done.done():
            self._done.set_result(None)

    @property
    def status(self) -> int:
        return self._parser.get_status_code()


async def run(url: str, model: str, engine: Engine, load: Load, clients: int, turn: str) -> Heard:
    """`turn` makes the questions of this run unlike those of any other."""
    heard = Heard(0, 0, 0, [], [])
    address, loop = urlsplit(url), asyncio.get_running_loop()

    async def client(number: int) -> None:
        transport, connection = await loop.create_connection(
            lambda: _Connection(engine), address.hostname, address.port
        )
        for at in range(load.requests):
            question = f"{turn}-{number}-{at}"
            await connection.ask(question, load, model)
            heard.answers += 1
            heard.events += connection.body.count(END)
            heard.writes += max(0, connection.writes - 1)
            heard.firsts.append(connection.first)
            if connection.status != 200 or not _right(connection.body, question, load):
                heard.faults.append(f"{question}: {connection.status} {connection.body[-400:]!r}")
        transport.close()

    await asyncio.gather(*map(client, range(clients)))
    return heard


def _right(body: bytes, question: str, load: Load) -> bool:
    """Whether it is what the engine said: every token in its place, how it ended, and nothing missing at the end."""
    try:
        return _says(body, answer(question, load.tokens), load)
    except (ValueError, LookupError, TypeError):
        return False


def _says(body: bytes, said: str, load: Load) -> bool:
    if load.stream:
        return WIRES[load.api].says(body, said)
    (choice,) = json.loads(body)["choices"]
    return bool(choice["message"]["content"] == said and choice["finish_reason"] == "length")
