"""The story of one request: admit, read the images, plan their tiles, put them before the engine, ask, stream.

Knows the order of the stages and what is tried again; every stage's work is done below it. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain import ChatRequest, Engine, EngineLife, ImageBytes, ImageJob, ImageUsage
from service.engine.answer import Answer, ask
from service.errors import DeadlineExceeded, EngineFailed, EngineUnavailable
from service.families.base import Geometry
from service.families.fitting import fit
from service.ingest import Ingest
from service.ingest.keys import content_key
from service.pipeline.handover import ImagePath, Placed
from service.pipeline.placeholders import neutralise
from service.pipeline.scope import RequestScope, gather_or_cancel
from service.telemetry.metrics import Metrics
from service.telemetry.timeline import Span, StageTimings

ROUTE = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Served:
    """What is served, as far as a request depends on it."""

    context: int
    fingerprint: str
    """Of the checkpoint and the number format: part of every cache key."""
    request_timeout: float
    restart_wait: float


class Pipeline:
    def __init__(
        self,
        served: Served,
        *,
        ingest: Ingest,
        geometry: Geometry,
        images: ImagePath,
        engine: Engine,
        life: EngineLife,
        metrics: Metrics,
    ) -> None:
        self._served = served
        self._ingest = ingest
        self._geometry = geometry
        self._images = images
        self._engine = engine
        self._life = life
        self._metrics = metrics

    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> ChatAnswer:
        """Returns when the engine's answer has begun; the answer holds the leases until it is closed.

        `headers` (request id, trace context) are handed on to the engine. What happens is entered in the request's
        record.

        Raises every PatchbayError but ConfigurationError.
        """
        began = time.monotonic()
        scope, record = RequestScope(), request.record
        try:
            async with asyncio.timeout(self._served.request_timeout):
                jobs = await self._jobs(request, record.timings)
                record.images = [_usage(job, cached=False) for job in jobs]
                placed, answer = await self._ask(request, headers, jobs, scope, record.timings)
        except TimeoutError:
            scope.close(finished=False)
            raise DeadlineExceeded(
                f"no answer had begun after {self._served.request_timeout:g} s (request_timeout)"
            ) from None
        except BaseException:
            scope.close(finished=False)
            raise
        record.images = [_usage(job, cached=cached) for job, cached in zip(jobs, placed.cached, strict=True)]
        return ChatAnswer(
            answer, record.images, scope, record.timings, deadline=began + self._served.request_timeout
        )

    async def _jobs(self, request: ChatRequest, timings: StageTimings) -> list[ImageJob]:
        """The images' bytes, their plans, and the names of what will come of them."""
        if not request.images:
            return []
        images = await gather_or_cancel([self._ingest.read(ref, timings) for ref in request.images])
        plans = fit(self._geometry, request.images, images, self._served.context)
        for image, plan in zip(images, plans, strict=True):
            self._metrics.image(
                format=image.format,
                source=image.source,
                detail=plan.detail,
                pixels=image.width * image.height,
                tokens=plan.rows,
            )
        return [
            ImageJob(self._key(request.tenant, image, plan.views), image, plan, ref.path)
            for ref, image, plan in zip(request.images, images, plans, strict=True)
        ]

    def _key(self, tenant: str, image: ImageBytes, views: Sequence[object]) -> str:
        return content_key(
            tenant, self._geometry.fingerprint, self._served.fingerprint, repr(views), image.data
        )

    async def _ask(
        self,
        request: ChatRequest,
        headers: Mapping[str, str],
        jobs: Sequence[ImageJob],
        scope: RequestScope,
        timings: StageTimings,
    ) -> tuple[Placed, Answer]:
        """Asks the engine, and once more when it died, or could not read a handle, before anything was streamed."""
        placed = await self._place(request, jobs, scope, timings)
        try:
            return placed, await self._open(request, headers, placed.payload, timings)
        except EngineUnavailable:
            pass
        except EngineFailed:
            if await self._life.alive():
                if not self._images.forget(jobs):
                    raise
                self._metrics.handover_retried()
                scope.close(finished=True)
                placed = await self._place(request, jobs, scope, timings)
        with timings.stage("engine_wait"):
            await self._life.wait_ready(self._served.restart_wait)
        try:
            return placed, await self._open(request, headers, placed.payload, timings)
        except EngineFailed:
            if await self._life.alive():
                raise
            raise self._life.unavailable() from None

    async def _place(
        self, request: ChatRequest, jobs: Sequence[ImageJob], scope: RequestScope, timings: StageTimings
    ) -> Placed:
        # what a user writes is never taken for an image's place
        payload = neutralise(request.payload, self._geometry.placeholders)
        return await self._images.place(request, payload, jobs, scope, timings)

    async def _open(
        self,
        request: ChatRequest,
        headers: Mapping[str, str],
        payload: Mapping[str, Any],
        timings: StageTimings,
    ) -> Answer:
        # an answer that does not stream comes whole: when its first token was made is not known
        with timings.stage("engine_first_token" if request.stream else "engine_answer"):
            return await ask(self._engine, ROUTE, payload, headers, stream=request.stream)


def _usage(job: ImageJob, *, cached: bool) -> ImageUsage:
    closest = job.plan.views[0]
    return ImageUsage(
        width=job.image.width,
        height=job.image.height,
        grid=(closest.columns, closest.rows),
        tiles=job.plan.tiles,
        tokens=job.plan.rows,
        detail=job.plan.detail,
        cached=cached,
    )


class ChatAnswer:
    """An answer that has begun: its bytes, what its images cost, and what it holds. Close it in every case."""

    def __init__(
        self,
        answer: Answer,
        images: Sequence[ImageUsage],
        scope: RequestScope,
        timings: StageTimings,
        *,
        deadline: float,
    ) -> None:
        self.content_type = answer.content_type
        self.images = images
        self._answer = answer
        self._scope = scope
        self._timings = timings
        self._deadline = deadline
        self._began = time.monotonic()
        self._finished = False

    async def body(self) -> AsyncIterator[bytes]:
        """The engine's bytes as they come. Raises EngineFailed when it dies, DeadlineExceeded at the deadline."""
        chunks = aiter(self._answer.body())
        while True:
            try:
                # the deadline is for this one wait: a timeout must not stay open across a yield
                async with asyncio.timeout_at(self._loop_deadline()):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                self._finished = True
                return
            except TimeoutError:
                raise DeadlineExceeded("the request's time was up (request_timeout)") from None
            yield chunk

    async def aclose(self) -> None:
        """Ends the generation if it still runs, and gives back what the request held."""
        self._timings.add(Span("engine_answer", self._began, time.monotonic()))
        try:
            await self._answer.aclose()
        finally:
            self._scope.close(finished=self._finished)

    def _loop_deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._deadline - time.monotonic()
