"""Stand-ins for the seams, for unit tests alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from service.domain import EngineReply, ImageJob, ImagePlan, Run, SoftLayout, View
from service.errors import EngineUnavailable
from service.families import Geometry
from service.ingest import Fetcher, FetchLimits, ImageLimits, Ingest, URLPolicy
from service.pipeline.chat import Pipeline
from service.pipeline.handover import ImageHandover
from service.pipeline.images import ImageReader, Images
from service.pipeline.suspects import Suspects
from service.telemetry.metrics import Metrics
from service.telemetry.timeline import StageTimings


class Reply:
    """An engine's reply of fixed chunks; an exception among them is raised in its place."""

    def __init__(
        self, *chunks: bytes | BaseException, status: int = 200, content_type: str = "application/json"
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.closed = False
        self._chunks = chunks

    async def body(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    async def aclose(self) -> None:
        self.closed = True


class Engine:
    """Gives out prepared replies in order and remembers what it was asked."""

    def __init__(self, *replies: Reply | BaseException) -> None:
        self.replies = list(replies)
        self.asked: list[Mapping[str, Any]] = []
        self.is_alive = True
        self.ready = True
        self.incarnation = 0
        """Which run of it answers."""
        self.waited: list[float] = []

    async def post(self, route: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> EngineReply:
        self.asked.append(json.loads(json.dumps(payload)))
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def get(self, route: str) -> EngineReply:
        raise NotImplementedError(route)

    async def alive(self) -> bool:
        return self.is_alive

    async def wait_ready(self, timeout: float) -> None:
        self.waited.append(timeout)
        if not self.is_alive:
            raise self.unavailable()

    def unavailable(self) -> EngineUnavailable:
        return EngineUnavailable("the engine is restarting", retry_after=7)


class Lease:
    def __init__(self, key: str, tokens: int, cached: bool) -> None:
        self.key = key
        self.tokens = tokens
        self.cached = cached
        self.released: list[bool] = []

    def release(self, *, quarantine: bool = False) -> None:
        self.released.append(quarantine)


class Encoder:
    """Leases without encoding; a key it has seen counts as cached until it is forgotten."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.known: set[str] = set()

    async def encode(self, job: ImageJob, timings: StageTimings) -> Lease:
        lease = Lease(job.key, job.plan.tokens, job.key in self.known)
        self.known.add(job.key)
        self.leases.append(lease)
        return lease

    def forget(self, key: str) -> None:
        self.known.discard(key)


def image_plan(*views: View, tokens: int, patches: int) -> ImagePlan:
    """A plan of no family."""
    return ImagePlan("high", views, patches, SoftLayout(target=(1,), runs=(Run(1, tokens, embeds=True),)))


def pipeline(
    engine: Engine,
    geometry: Geometry,
    handover: ImageHandover,
    metrics: Metrics,
    timeout: float = 60,
    *,
    by_priority: bool = False,
    images: Images | None = None,
    policy: URLPolicy | None = None,
) -> Pipeline:
    """The real one, with real reading, around an engine that is a stand-in."""
    ingest = Ingest(Fetcher(policy or URLPolicy(), FetchLimits()), ImageLimits())
    return Pipeline(
        images=images or ImageReader(ingest, geometry, context=4096, fingerprint="model"),
        handover=handover,
        placeholders=geometry.facts.placeholders,
        engine=engine,
        life=engine,
        suspects=Suspects(300),
        metrics=metrics,
        by_priority=by_priority,
        request_timeout=timeout,
        restart_wait=3,
    )


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"
