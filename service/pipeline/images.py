"""The images of one request: read, planned to fit the model's context, and named by a content key."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import ChatRequest, ImageBytes, ImageJob, ImagePlan, ImageUsage
from service.errors import InvalidRequest
from service.families.base import Geometry
from service.families.fitting import fit
from service.ingest import Ingest
from service.ingest.keys import content_key
from service.pipeline.scope import gather_or_cancel
from service.telemetry.metrics import Metrics


class ImageReader:
    """`fingerprint`, of checkpoint and number format, is part of every key."""

    def __init__(
        self, ingest: Ingest, geometry: Geometry, metrics: Metrics, *, context: int, fingerprint: str
    ) -> None:
        self._ingest = ingest
        self._geometry = geometry
        self._metrics = metrics
        self._context = context
        self._fingerprint = fingerprint

    async def jobs(self, request: ChatRequest) -> list[ImageJob]:
        """The images' bytes, their plans, and the names of what will come of them, in order.

        Raises an ImageError or ContextLengthExceeded.
        """
        if not request.images:
            return []
        if not self._geometry.facts.takes_images:
            raise InvalidRequest(f"The model {request.model} takes no images.", param=request.images[0].path)
        budget = self._ingest.budget()
        images = await gather_or_cancel(
            [self._ingest.read(ref, request.record.timings, budget) for ref in request.images]
        )
        budget.check_pixels(images, [ref.path for ref in request.images])
        plans = fit(self._geometry, request.images, images, self._context)
        for image, plan in zip(images, plans, strict=True):
            self._metrics.image(
                format=image.format,
                source=image.source,
                detail=plan.detail,
                pixels=image.width * image.height,
                tokens=plan.tokens,
            )
        return [
            ImageJob(self._key(request.caller.tenant, image, plan), image, plan, ref.path)
            for ref, image, plan in zip(request.images, images, plans, strict=True)
        ]

    def _key(self, tenant: str, image: ImageBytes, plan: ImagePlan) -> str:
        return content_key(
            tenant, self._geometry.facts.fingerprint, self._fingerprint, repr(plan.views), image.data
        )


def usage(jobs: Sequence[ImageJob], cached: Sequence[bool]) -> list[ImageUsage]:
    """What each image costs; nothing where only the engine knows that."""
    if not all(job.plan.views for job in jobs):
        return []
    return [_usage(job, known) for job, known in zip(jobs, cached, strict=True)]


def _usage(job: ImageJob, cached: bool) -> ImageUsage:
    grid = job.plan.views[job.plan.grid]
    return ImageUsage(
        width=job.image.width,
        height=job.image.height,
        grid=(grid.columns, grid.rows),
        tiles=job.plan.tiles,
        tokens=job.plan.tokens,
        detail=job.plan.detail,
        cached=cached,
    )
