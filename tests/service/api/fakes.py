"""Stand-ins for what lies below the HTTP layer, and a client that speaks ASGI by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message

from service.api import Backend, RequestLimits, build_admin, build_api
from service.api.ports import ChatService, EngineMetrics
from service.domain import ChatRequest, ImageUsage, TokenCount
from service.keys import KeyStore
from service.pipeline.admission import Admission
from service.telemetry.metrics import Metrics
from service.telemetry.spans import Tracing
from tests.waiting import DEADLOCK

LOW = ImageUsage(
    **{"width": 40, "height": 30, "processed": (224, 224), "placement": (0, 0, 224, 224)},
    **{"grid": (1, 1), "tiles": 1, "tokens": 16, "detail": "low", "cached": False},
)
HIGH = ImageUsage(
    **{"width": 640, "height": 480, "processed": (672, 672), "placement": (0, 84, 672, 504)},
    **{"grid": (3, 3), "tiles": 10, "tokens": 160, "detail": "high", "cached": True, "reduced": True},
)

Step = bytes | BaseException | asyncio.Event
"""A chunk to yield, a failure to raise, or an event to wait for."""


class Reply:
    def __init__(
        self, *steps: Step, images: Sequence[ImageUsage] = (), content_type: str = "application/json"
    ) -> None:
        self.images = images
        self.content_type = content_type
        self.closed = asyncio.Event()
        self.death: BaseException | None = None
        """What the one who looks after the engine says about a broken body."""
        self._steps = steps

    async def body(self) -> AsyncIterator[bytes]:
        for step in self._steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step

    async def failed(self) -> None:
        if self.death is not None:
            raise self.death

    async def aclose(self) -> None:
        self.closed.set()


class Service:
    """Answers with `reply` once `gate` is open; remembers what it was asked and whether it was cancelled."""

    def __init__(self, reply: Reply | BaseException, gate: asyncio.Event | None = None) -> None:
        self.reply = reply
        self.gate = gate
        self.asked: list[tuple[ChatRequest, Mapping[str, str]]] = []
        self.asking = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> Reply:
        self.asked.append((request, headers))
        self.asking.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply


class Tokenizer:
    """Counts `count` once `gate` is open; remembers what it was asked and whether it was cancelled."""

    ANSWER: ClassVar[dict[str, Any]] = {
        "count": 2,
        "max_model_len": 4096,
        "tokens": [5, 6],
        "token_strs": None,
    }

    def __init__(self, count: TokenCount | BaseException) -> None:
        self.counted = count
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[tuple[ChatRequest, Mapping[str, str]]] = []
        self.asking = asyncio.Event()
        self.cancelled = False

    async def count(self, request: ChatRequest, headers: Mapping[str, str]) -> TokenCount:
        await self._wait(request, headers)
        if isinstance(self.counted, BaseException):
            raise self.counted
        return self.counted

    async def ask(self, request: ChatRequest, headers: Mapping[str, str]) -> Mapping[str, Any]:
        await self._wait(request, headers)
        return self.ANSWER

    async def _wait(self, request: ChatRequest, headers: Mapping[str, str]) -> None:
        self.asked.append((request, headers))
        self.asking.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


class Catalog:
    def __init__(self, *names: str) -> None:
        self._names = names

    def names(self) -> Sequence[str]:
        return self._names

    async def cards(self) -> Sequence[Mapping[str, Any]]:
        return [{"id": name, "object": "model", "max_model_len": 4096} for name in self._names]


class Health:
    def __init__(self, **reasons: str) -> None:
        self.told = reasons

    def reasons(self) -> Mapping[str, str]:
        return self.told


class Harness:
    """The application with everything below it at hand."""

    def __init__(
        self,
        reply: Reply | BaseException | None = None,
        *,
        gate: asyncio.Event | None = None,
        keepalive: float = 60,
        max_inflight: int = 4,
        api_keys: Sequence[str] = (),
        keys: KeyStore | None = None,
        health: Health | None = None,
        pipeline: ChatService | None = None,
        tokenizer: Tokenizer | None = None,
        engine: EngineMetrics | None = None,
        tracing: Tracing | None = None,
        show_metrics: bool = True,
        playground: APIRouter | None = None,
        allowed_origins: Sequence[str] = (),
        **limits: Any,
    ) -> None:
        """`pipeline` takes the place of the service that gives `reply`; `keys` that of the list `api_keys`."""
        self.service = Service(reply or Reply(b"{}"), gate)
        self.tokenizer = tokenizer or Tokenizer(TokenCount(prompt_tokens=1, context=4096, images=[]))
        self.admission = Admission(max_inflight=max_inflight, max_visual_tokens=1000)
        self.registry = CollectorRegistry()
        backend = Backend(
            chat=pipeline or self.service,
            tokens=self.tokenizer,
            models=Catalog("demo", "org/other"),
            readiness=health or Health(),
            permits=self.admission,
            engine_metrics=engine,
        )
        metrics = Metrics(self.registry)
        self.admin: FastAPI = build_admin(backend, metrics=metrics)
        self.api: FastAPI = build_api(
            backend,
            metrics=metrics,
            limits=RequestLimits(**limits),
            keys=keys or KeyStore(api_keys),
            keepalive_seconds=keepalive,
            tracing=tracing,
            show_metrics=show_metrics,
            playground=playground,
            allowed_origins=allowed_origins,
        )

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"patchbay_{name}", labels)


class Call:
    """One request to an ASGI application, whose client can leave at any time."""

    def __init__(self, app: ASGIApp, path: str, *body: bytes, method: str = "POST", **headers: str) -> None:
        given = {"content_type": "application/json"} | headers
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.sent: list[Message] = []
        self.received = 0
        self.whole = True
        """False: the client leaves before its body is complete."""
        self.reads = asyncio.Event()
        self.reads.set()
        """Cleared: the client does not read, and the server's send blocks."""
        self.blocked = asyncio.Event()
        self._app = app
        self._body = list(body)
        self._gone = asyncio.Event()
        self._news = asyncio.Event()

    async def run(self) -> Call:
        async with asyncio.timeout(DEADLOCK):
            await self._app(self.scope, self._receive, self._send)
        return self

    def leave(self) -> None:
        self._gone.set()

    async def until(self, bytes_seen: bytes) -> None:
        while bytes_seen not in self.body:
            self._news.clear()
            await self._news.wait()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def ended(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False

    @property
    def error(self) -> dict[str, Any]:
        error = json.loads(self.body)["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert isinstance(error, dict)
        return error

    async def _receive(self) -> Message:
        self.received += 1
        if self.received <= len(self._body):
            more = self.received < len(self._body) or not self.whole
            return {"type": "http.request", "body": self._body[self.received - 1], "more_body": more}
        if self.whole:
            await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if not self.reads.is_set():
            self.blocked.set()
            await self.reads.wait()
        self.sent.append(message)
        self._news.set()


def chat(harness: Harness, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Call:
    body = {"messages": [{"role": "user", "content": "hi"}]} | fields
    return Call(harness.api, "/v1/chat/completions", json.dumps(body).encode(), **(headers or {}))


def event(**payload: Any) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"
