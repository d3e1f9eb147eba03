"""The course of a request: its images are read and handed over, the engine is asked, and the answer is streamed.

This file is the order of the stages and what is tried again; every stage's work is done below it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from service.deadline import Deadline
from service.domain import ChatRequest, Engine, EngineLife, ImageJob, Record
from service.engine.answer import Answer, ask
from service.errors import DeadlineExceeded, EngineFailed, EngineLost, EngineUnavailable
from service.pipeline.handover import ImageHandover, Placed
from service.pipeline.images import Images, usage
from service.pipeline.placeholders import neutralise
from service.pipeline.suspects import Suspects
from service.telemetry.metrics import Metrics
from service.telemetry.timeline import Span


class Pipeline:
    """`request_timeout`: seconds for a whole request. `restart_wait`: seconds to wait for an engine that has died.
    `by_priority`: whether the engine schedules by priority."""

    def __init__(
        self,
        *,
        images: Images,
        handover: ImageHandover,
        placeholders: Sequence[str],
        engine: Engine,
        life: EngineLife,
        suspects: Suspects,
        metrics: Metrics,
        by_priority: bool = False,
        request_timeout: float,
        restart_wait: float,
    ) -> None:
        self._images = images
        self._handover = handover
        self._placeholders = placeholders
        self._engine = engine
        self._life = life
        self._suspects = suspects
        self._metrics = metrics
        self._by_priority = by_priority
        self._request_timeout = request_timeout
        self._restart_wait = restart_wait

    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> ChatAnswer:
        """Returns when the engine's answer has begun; the answer holds the leases until it is closed.

        `headers` (request id, trace context) are forwarded to the engine. What happens is entered in the request's
        record.

        Raises every PatchbayError but ConfigurationError.
        """
        deadline, record = time.monotonic() + self._request_timeout, request.record
        # what a user writes is never taken for an image's place
        request = replace(request, payload=neutralise(request.payload, self._placeholders))
        self._suspects.check(request.payload)
        try:
            async with asyncio.timeout(self._request_timeout):
                jobs = await self._images.jobs(request)
                if request.route.generates:
                    self._count(jobs)
                record.images = usage(jobs, [False] * len(jobs))
                placed, answer, run = await self._ask(request, headers, jobs)
        except TimeoutError:
            raise DeadlineExceeded(
                f"no answer had begun after {self._request_timeout:g} s (request_timeout)"
            ) from None
        record.images = usage(jobs, placed.cached)
        on_failure = partial(self._look_for_death, request, run)
        on_finish = partial(self._suspects.answered, request.payload)
        return ChatAnswer(
            answer, placed, record, deadline=deadline, on_failure=on_failure, on_finish=on_finish
        )

    def _count(self, jobs: Sequence[ImageJob]) -> None:
        for job in jobs:
            self._metrics.image(
                format=job.image.format,
                source=job.image.source,
                detail=job.plan.detail,
                pixels=job.image.width * job.image.height,
                tokens=job.plan.tokens,
                reduced=job.reduced,
            )

    async def _ask(
        self, request: ChatRequest, headers: Mapping[str, str], jobs: Sequence[ImageJob]
    ) -> tuple[Placed, Answer, int]:
        """Asks the engine, and once more when it could not be reached, or could not read a handle.

        A request that the engine had when it died is not sent again: it may be what ended it. Returns with the answer
        the engine's run that gives it.
        """
        placed = await self._handover.place(request, jobs)
        try:
            for last in (False, True):
                if not self._life.ready:
                    await self._wait_ready(request)
                run = self._life.incarnation
                try:
                    return placed, await self._open(request, headers, placed.payload), run
                except EngineFailed:
                    await self._look_for_death(request, run)
                    if last or not self._handover.forget(jobs):
                        raise
                    self._metrics.handover_retried()
                    placed.scope.close(finished=True)
                    placed = await self._handover.place(request, jobs)
                except EngineLost:
                    await self._look_for_death(request, run)
                    if last:
                        raise
                except EngineUnavailable:
                    if last:
                        raise
                    await self._wait_ready(request)
            raise AssertionError("the second try returns or raises")
        except BaseException:
            placed.scope.close(finished=False)
            raise

    async def _wait_ready(self, request: ChatRequest) -> None:
        with request.record.timings.stage("engine_wait"):
            await self._life.wait_ready(self._restart_wait)

    async def _look_for_death(self, request: ChatRequest, run: int) -> None:
        """Raises EngineUnavailable if the engine has died since `run` was seen, and remembers the request."""
        if await self._life.alive() and self._life.incarnation == run:
            return
        self._suspects.in_flight_at_death(request.payload, run)
        raise self._life.unavailable()

    async def _open(
        self, request: ChatRequest, headers: Mapping[str, str], payload: Mapping[str, Any]
    ) -> Answer:
        if request.route.generates:
            payload = {**payload, **self._scheduling(request)}
        # an answer that does not stream comes whole: when its first token was made is not known
        with request.record.timings.stage("engine_first_token" if request.stream else "engine_answer"):
            return await ask(self._engine, request.route, payload, headers, stream=request.stream)

    def _scheduling(self, request: ChatRequest) -> dict[str, Any]:
        """Fields that clients may not set: which cached prompts it may meet, and when its turn comes."""
        salt = {"cache_salt": request.caller.tenant} if request.caller.tenant else {}
        return salt | ({"priority": request.rank} if self._by_priority else {})


class ChatAnswer:
    """An answer that has begun: its bytes, what its images cost, and what it holds. Close it in every case."""

    def __init__(
        self,
        answer: Answer,
        placed: Placed,
        record: Record,
        *,
        deadline: float,
        on_failure: Callable[[], Awaitable[None]],
        on_finish: Callable[[], None],
    ) -> None:
        """`deadline`: a time of time.monotonic. `on_failure` raises EngineUnavailable if the engine has died.
        `on_finish` is called when the answer was complete and sound."""
        self.content_type = answer.content_type
        self.images = record.images
        self.left_out = placed.left_out
        """Prompt tokens of the images that the engine was not told of, and has not counted."""
        self._answer = answer
        self._scope = placed.scope
        self._timings = record.timings
        self._deadline = Deadline(deadline)
        self._on_failure = on_failure
        self._on_finish = on_finish
        self._began = time.monotonic()
        self._finished = False
        self._broken = False

    async def body(self) -> AsyncIterator[bytes]:
        """The engine's bytes as they come. Raises EngineFailed when it dies, DeadlineExceeded at the deadline."""
        chunks = aiter(self._answer.body())
        while True:
            try:
                # the deadline is for this one wait: it must not stay entered across a yield
                with self._deadline:
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                self._finished = True
                return
            except TimeoutError:
                raise DeadlineExceeded("the request's time was up (request_timeout)") from None
            yield chunk

    async def failed(self) -> None:
        """To be called when the answer turns out to be broken. Raises EngineUnavailable if the engine has died."""
        self._broken = True
        await self._on_failure()

    async def aclose(self) -> None:
        """Ends the generation if it still runs, and gives back what the request held."""
        self._timings.add(Span("engine_answer", self._began, time.monotonic()))
        self._deadline.close()
        try:
            await self._answer.aclose()
        finally:
            self._scope.close(finished=self._finished)
        if self._finished and not self._broken:
            self._on_finish()
