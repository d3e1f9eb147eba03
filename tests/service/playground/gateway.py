"""The real gateway with the page, on loopback; its engine says what a test wants it to."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry

from service.api.sse import DONE
from service.app.service import SCENES
from service.domain import EngineReply
from service.families import Geometry, load_geometry
from service.keys import KeyStore
from service.pipeline.admission import Admission
from service.pipeline.handover import Handles
from service.playground import playground_routes
from service.settings import EMBEDDED_MODEL
from service.telemetry.metrics import Metrics
from tests.service import fakes
from tests.service.api.fakes import Harness, Health
from tests.service.fakes import event
from tests.waiting import DEADLOCK

EMBEDDED = load_geometry(EMBEDDED_MODEL)
USAGE = {"prompt_tokens": 177, "completion_tokens": 2, "total_tokens": 179}


class Engine(fakes.Engine):
    """Answers every question with `words`; without any it goes on for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.words: tuple[str, ...] = ("red",)
        self.refuses: BaseException | None = None
        self.given: list[fakes.Reply] = []

    async def post(self, route: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> EngineReply:
        self.asked.append(payload)
        if self.refuses is not None:
            raise self.refuses
        frames = [event(id="1", choices=[{"delta": {"content": word}}]) for word in self.words]
        end = [
            event(id="1", choices=[{"delta": {}, "finish_reason": "stop"}]),
            event(choices=[], usage=USAGE),
        ]
        reply = Endless(event(id="1", choices=[{"delta": {"content": "well, "}}]))
        self.given.append(fakes.Reply(*frames, *end, DONE) if self.words else reply)
        return self.given[-1]


class Endless(fakes.Reply):
    async def body(self) -> Any:
        async for chunk in super().body():
            yield chunk
        await asyncio.Event().wait()


class Gateway:
    """The real one, with the page, on a port of its own."""

    def __init__(self, *api_keys: str, admin_port: bool = False, geometry: Geometry = EMBEDDED) -> None:
        """With `admin_port` its metrics are elsewhere."""
        self.engine = Engine()
        self.health = Health()
        metrics = Metrics(CollectorRegistry())
        admission = Admission(max_inflight=4, max_visual_tokens=max(1000, geometry.max_tokens))
        handover = Handles(fakes.Encoder(), admission, metrics, room=int)
        self.api = Harness(
            pipeline=fakes.pipeline(self.engine, geometry, handover, metrics, timeout=600),
            health=self.health,
            keys=KeyStore(api_keys),
            show_metrics=not admin_port,
            playground=playground_routes(SCENES),
        ).api

    @contextmanager
    def running(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = uvicorn.Server(
                uvicorn.Config(self.api, log_config=None, timeout_graceful_shutdown=int(DEADLOCK))
            )
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
            finally:
                server.should_exit = True
                thread.join(DEADLOCK)
