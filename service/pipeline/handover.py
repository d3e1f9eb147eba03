"""How images reach the engine: as handles to soft tokens that were encoded here, or passed through as bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pybase64

from service.domain import ChatRequest, Detail, Handle, ImageJob, Lease, SoftLayout, SoftTokenEncoder
from service.engine.handles import substitute
from service.errors import InvalidRequest
from service.families.base import Geometry
from service.pipeline.admission import Admission
from service.pipeline.scope import RequestScope, gather_or_cancel
from service.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Placed:
    """A request that the engine can take."""

    payload: Mapping[str, Any]
    cached: tuple[bool, ...]
    """For each image, whether its soft tokens were there already."""
    scope: RequestScope = field(default_factory=RequestScope)
    """What it holds until its answer has ended: leases and a permit. To be closed in every case."""
    left_out: int = 0
    """Prompt tokens of its images that the engine is not told of."""


class ImageHandover(Protocol):
    async def place(self, request: ChatRequest, jobs: Sequence[ImageJob]) -> Placed:
        """The request's payload with its images made ready for the engine."""
        ...

    def forget(self, jobs: Sequence[ImageJob]) -> bool:
        """Drops what the engine could not read; true when placing again can help."""
        ...


class Handles:
    """Images become soft tokens here; the engine gets their keys. `room`: what an image of so many tokens occupies."""

    def __init__(
        self,
        encoder: SoftTokenEncoder,
        admission: Admission,
        metrics: Metrics,
        room: Callable[[int], int],
    ) -> None:
        self._encoder = encoder
        self._admission = admission
        self._metrics = metrics
        self._room = room

    async def place(self, request: ChatRequest, jobs: Sequence[ImageJob]) -> Placed:
        scope = RequestScope()
        try:
            cached = await self._hold(request, jobs, scope)
        except BaseException:
            scope.close(finished=False)
            raise
        handles = [Handle(job.key, job.plan.layout) for job in jobs]
        payload = substitute(request.payload, request.images, handles) if handles else request.payload
        return Placed(payload, cached, scope)

    def forget(self, jobs: Sequence[ImageJob]) -> bool:
        for job in jobs:
            self._encoder.forget(job.key)
        return bool(jobs)

    async def _hold(
        self, request: ChatRequest, jobs: Sequence[ImageJob], scope: RequestScope
    ) -> tuple[bool, ...]:
        """Enters a permit and a lease for each image in `scope`; for each, whether it was cached."""
        with request.record.timings.stage("admission"):
            permit = await self._admission.visual(
                sum(self._room(job.plan.tokens) for job in jobs),
                caller=request.caller,
                rank=request.rank,
                param="messages",
            )
        scope.on_exit(lambda finished: permit.release())

        async def lease(job: ImageJob) -> Lease:
            taken = await self._encoder.encode(job, request.record.timings)
            self._metrics.cache(hit=taken.cached)
            # an aborted request may still be in the engine's current step: its tokens stay a while longer
            scope.on_exit(lambda finished: taken.release(quarantine=not finished))
            return taken

        leases = await gather_or_cancel([lease(job) for job in jobs])
        return tuple(taken.cached for taken in leases)


class Measures:
    """For requests that are only tokenized: layouts to which no soft tokens belong, so that nothing is encoded or held.

    A `stand_in` is put in the place of every image, whatever its size: enough to count by, and as short as can be.
    """

    def __init__(self, stand_in: SoftLayout | None = None) -> None:
        self._stand_in = stand_in

    async def place(self, request: ChatRequest, jobs: Sequence[ImageJob]) -> Placed:
        layouts = [self._stand_in or job.plan.layout for job in jobs]
        handles = [Handle(job.key, layout) for job, layout in zip(jobs, layouts, strict=True)]
        left_out = sum(job.plan.layout.positions for job in jobs) - sum(one.positions for one in layouts)
        payload = substitute(request.payload, request.images, handles) if handles else request.payload
        return Placed(payload, tuple(False for _ in jobs), left_out=left_out)

    def forget(self, jobs: Sequence[ImageJob]) -> bool:
        return False


class PassThrough:
    """The engine's own tower encodes the very bytes that were fetched and checked here."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry

    async def place(self, request: ChatRequest, jobs: Sequence[ImageJob]) -> Placed:
        if not jobs:
            return Placed(request.payload, ())
        # as asked: an image of one tile counts as low whatever was asked, and the engine cuts it the same way
        details = {"low" if ref.detail is Detail.LOW else "high" for ref in request.images}
        options = [self._geometry.processor_options(detail) for detail in sorted(details)]
        if any(each != options[0] for each in options):
            raise InvalidRequest(
                "images=passthrough applies one detail level to a whole request, and this one asks for low and high",
                param="messages",
            )
        messages = [dict(message) for message in request.payload["messages"]]
        for ref, job in zip(request.images, jobs, strict=True):
            parts = list(messages[ref.message]["content"])
            # named by our key, which contains the caller's salt: the engine's caches then keep callers apart
            parts[ref.part] = {"type": "image_url", "image_url": {"url": data_url(job)}, "uuid": job.key}
            messages[ref.message]["content"] = parts
        ready = {**request.payload, "messages": messages}
        if options[0]:
            ready["mm_processor_kwargs"] = options[0]
        return Placed(ready, tuple(False for _ in jobs))

    def forget(self, jobs: Sequence[ImageJob]) -> bool:
        return False


def data_url(job: ImageJob) -> str:
    return f"data:image/{job.image.format};base64,{pybase64.b64encode(job.image.data).decode()}"
