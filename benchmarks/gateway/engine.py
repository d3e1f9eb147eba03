"""A stand-in for the engine that generates nothing: vLLM's own wire format, a step at a time.

One step sends one event to each running stream, as one step of vLLM does. The next begins when all of these have
arrived at the clients, so that however busy the machine is, no two events of a stream are ever sent together.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httptools

from benchmarks.processes import free_port

STALLED_SECONDS = 60
"""A step that has not arrived after this time never will."""
TEXT_TOKENS, PICTURE_TOKENS = 9, 4000
"""Of a prompt. The gateway asks about one picture when it starts, and minds that it is counted."""
HEAD = b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\n"
STREAM_HEAD = HEAD + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def word(question: str, number: int) -> str:
    """Token `number` of the answer to `question`."""
    return f" {question}.{number}"


def answer(question: str, tokens: int) -> str:
    return "".join(word(question, number) for number in range(tokens))


@dataclass(slots=True)
class Stream:
    """One answer on its way. `sent` and `heard` count its events, as the engine and the client see them."""

    transport: asyncio.Transport
    events: Iterator[tuple[list[bytes], bool]]
    sent: int = 0
    heard: int = 0

    def step(self) -> bool:
        """Sends the events of one step, each in a piece of its own. False when these were the last."""
        events, last = next(self.events)
        for event in events:
            self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.sent += 1
        if last:
            self.transport.write(b"0\r\n\r\n")
        return not last


class Engine:
    """An async context manager: serves at `url` until it is left. `step_seconds` is the time between two steps."""

    def __init__(self, step_seconds: float) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._port = port
        self._pause = step_seconds
        self._streams: dict[str, Stream] = {}
        self._arrived = asyncio.Event()
        self._began = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port)
        self._steps = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.cancel()
        self._server.close()
        await asyncio.gather(self._steps, return_exceptions=True)

    def heard(self, question: str, events: int) -> None:
        """The client has so many events of the answer now."""
        if (stream := self._streams.get(question)) is not None:
            stream.heard = events
            self._arrived.set()

    def begin(self, asked: dict[str, Any], transport: asyncio.Transport) -> None:
        question = str(asked["messages"][-1]["content"])
        self._streams[question] = Stream(transport, events_of(question, asked))
        self._began.set()

    async def _run(self) -> None:
        while True:
            await self._began.wait()
            await asyncio.sleep(self._pause)
            running = list(self._streams.items())
            ended = [question for question, stream in running if not stream.step()]
            async with asyncio.timeout(STALLED_SECONDS):
                while any(stream.heard < stream.sent for _, stream in running):
                    self._arrived.clear()
                    await self._arrived.wait()
            for question in ended:
                del self._streams[question]
            if not self._streams:
                self._began.clear()


class _Connection(asyncio.Protocol):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._path, self._body = b"", b""

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self._body:
            self._transport.write(HEAD + b"content-length: 0\r\n\r\n")
            return
        asked = json.loads(self._body)
        if asked.get("stream"):
            self._transport.write(STREAM_HEAD)
            self._engine.begin(asked, self._transport)
            return
        body = json.dumps(_whole(asked)).encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(HEAD + head + body)


def _tokens(asked: dict[str, Any]) -> int:
    return int(asked.get("max_completion_tokens") or asked["max_tokens"])


def _usage(prompt: int, tokens: int) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "total_tokens": prompt + tokens, "completion_tokens": tokens}
    return {**counts, "prompt_tokens_details": None}


def _whole(asked: dict[str, Any]) -> dict[str, Any]:
    """An answer to a question, to one about a picture, or to the gateway's, whether anything is generated at all."""
    tokens, content = _tokens(asked), asked.get("messages", [{"content": ""}])[-1]["content"]
    words = isinstance(content, str)
    message = {
        "role": "assistant",
        "content": answer(content, tokens) if words else "a picture",
        "refusal": None,
        "tool_calls": [],
        "reasoning": None,
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "length",
        "stop_reason": None,
    }
    envelope = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"]}
    usage = _usage(TEXT_TOKENS if words else PICTURE_TOKENS, tokens)
    return {**envelope, "choices": [choice], "usage": usage, "kv_transfer_params": None}


def events_of(question: str, asked: dict[str, Any]) -> Iterator[tuple[list[bytes], bool]]:
    """What vLLM writes, by steps, and whether it is the last: a role and the first token, then a token each, then
    how it ended."""
    envelope = {
        "id": f"chatcmpl-{question}",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": asked["model"],
    }

    told = asked.get("stream_options") or {}

    def chunk(number: int, **end: Any) -> bytes:
        delta = {"content": word(question, number)}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **end}
        return _frame({**envelope, "choices": [choice], **usage(number + 1)})

    def usage(so_far: int) -> dict[str, Any]:
        return {"usage": _usage(TEXT_TOKENS, so_far)} if told.get("continuous_usage_stats") else {}

    tokens = _tokens(asked)
    role = {**envelope, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], **usage(0)}
    yield [_frame(role), chunk(0, token_ids=None)], False
    for number in range(1, tokens - 1):
        yield [chunk(number, token_ids=None)], False
    last = [chunk(tokens - 1, finish_reason="length", stop_reason=None, token_ids=None)]
    if told.get("include_usage"):
        last.append(_frame({**envelope, "choices": [], "usage": _usage(TEXT_TOKENS, tokens)}))
    yield [*last, b"data: [DONE]\n\n"], True


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
