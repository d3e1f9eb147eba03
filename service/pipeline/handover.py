"""Two ways to put images before the engine: as handles on soft tokens of our own, or as they came.

By handle is the product: the encoder makes the soft tokens, the request carries a key. Pass-through is the
reference: the engine's own tower encodes. Knows nothing of HTTP, of fetching, or of retries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pybase64

from service.domain import ChatRequest, Detail, Handle, ImageJob, Lease, SoftTokenEncoder
from service.engine.handles import substitute
from service.errors import InvalidRequest
from service.families.base import Geometry
from service.pipeline.admission import Admission
from service.pipeline.scope import RequestScope, gather_or_cancel
from service.telemetry.metrics import Metrics
from service.telemetry.timeline import StageTimings


@dataclass(frozen=True, slots=True)
class Placed:
    """A request that the engine can take."""

    payload: Mapping[str, Any]
    cached: tuple[bool, ...]
    """For each image, whether its soft tokens were there already."""


class ImagePath(Protocol):
    async def place(
        self,
        request: ChatRequest,
        payload: Mapping[str, Any],
        jobs: Sequence[ImageJob],
        scope: RequestScope,
        timings: StageTimings,
    ) -> Placed:
        """`payload` with the images of `request` made ready for the engine; what they occupy is entered in `scope`."""
        ...

    def forget(self, jobs: Sequence[ImageJob]) -> bool:
        """Drops what the engine could not read; true when placing again can help."""
        ...


class HandlePath:
    """Images become soft tokens here; the engine gets their keys. `room`: what an image of so many rows occupies."""

    def __init__(
        self,
        geometry: Geometry,
        encoder: SoftTokenEncoder,
        admission: Admission,
        metrics: Metrics,
        room: Callable[[int], int],
    ) -> None:
        self._geometry = geometry
        self._encoder = encoder
        self._admission = admission
        self._metrics = metrics
        self._room = room

    async def place(
        self,
        request: ChatRequest,
        payload: Mapping[str, Any],
        jobs: Sequence[ImageJob],
        scope: RequestScope,
        timings: StageTimings,
    ) -> Placed:
        with timings.stage("admission"):
            permit = await self._admission.visual(
                sum(self._room(job.plan.rows) for job in jobs), param="messages"
            )
        scope.on_exit(lambda finished: permit.release())
        leases = await gather_or_cancel([self._lease(job, scope, timings) for job in jobs])
        handles = [Handle(job.key, self._geometry.layout(job.plan)) for job in jobs]
        return Placed(substitute(payload, request.places, handles), tuple(lease.cached for lease in leases))

    def forget(self, jobs: Sequence[ImageJob]) -> bool:
        for job in jobs:
            self._encoder.forget(job.key)
        return bool(jobs)

    async def _lease(self, job: ImageJob, scope: RequestScope, timings: StageTimings) -> Lease:
        lease = await self._encoder.encode(job, timings)
        self._metrics.cache(hit=lease.cached)
        # an aborted request may still be in the engine's current step: its rows stay a while longer
        scope.on_exit(lambda finished: lease.release(quarantine=not finished))
        return lease


class PassThrough:
    """The engine's own tower encodes the very bytes that were fetched and checked here."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry

    async def place(
        self,
        request: ChatRequest,
        payload: Mapping[str, Any],
        jobs: Sequence[ImageJob],
        scope: RequestScope,
        timings: StageTimings,
    ) -> Placed:
        # as asked: an image of one tile counts as low whatever was asked, and the engine cuts it the same way
        details = {"low" if ref.detail is Detail.LOW else "high" for ref in request.images}
        if len(details) > 1:
            raise InvalidRequest(
                "images=passthrough applies one detail level to a whole request, and this one asks for low and high",
                param="messages",
            )
        messages = [dict(message) for message in payload["messages"]]
        for (message, part), job in zip(request.places, jobs, strict=True):
            parts = list(messages[message]["content"])
            parts[part] = {"type": "image_url", "image_url": {"url": data_url(job)}}
            messages[message]["content"] = parts
        ready = {**payload, "messages": messages}
        if details and (options := self._geometry.processor_options(details.pop())):
            ready["mm_processor_kwargs"] = options
        return Placed(ready, tuple(False for _ in jobs))

    def forget(self, jobs: Sequence[ImageJob]) -> bool:
        return False


def data_url(job: ImageJob) -> str:
    return f"data:image/{job.image.format};base64,{pybase64.b64encode(job.image.data).decode()}"
