"""The images of one request: read, planned to fit the model's context, and named by a content key; or only measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.domain import ChatRequest, Detail, ImageBytes, ImageJob, ImagePlan, ImageRef, ImageUsage, View
from service.errors import InvalidRequest
from service.families.base import Geometry
from service.families.fitting import as_near_as_can_be, fit
from service.ingest import Ingest
from service.ingest.keys import content_key
from service.pipeline.scope import gather_or_cancel

SHARE = 4
"""An image that is reduced keeps one in so many of its tiles."""


class Images(Protocol):
    async def jobs(self, request: ChatRequest) -> list[ImageJob]:
        """What is to become of a request's images, in order. Raises an ImageError or ContextLengthExceeded."""
        ...


@dataclass(frozen=True, slots=True)
class ImageReader:
    """`fingerprint`, of checkpoint and number format, is part of every key; `context` is the model's, in tokens.
    `reduces`: whether the image of a key, asked for with `auto`, is to be reduced because the encoder is behind.
    """

    ingest: Ingest
    geometry: Geometry
    context: int
    fingerprint: str
    reduces: Callable[[str], bool] | None = None

    async def jobs(self, request: ChatRequest) -> list[ImageJob]:
        """The images' bytes, their plans, and the names of what will come of them."""
        if not request.images:
            return []
        _must_take_images(self.geometry, request)
        budget, timings, caller = self.ingest.budget(), request.record.timings, request.caller.name
        images = await gather_or_cancel(
            [self.ingest.read(ref, timings, budget, caller=caller) for ref in request.images]
        )
        budget.check_pixels(images, [ref.path for ref in request.images])
        plans = fit(self.geometry, request.images, images, self.context)
        return [
            self._job(request.caller.tenant, ref, image, plan)
            for ref, image, plan in zip(request.images, images, plans, strict=True)
        ]

    def _job(self, tenant: str, ref: ImageRef, image: ImageBytes, plan: ImagePlan) -> ImageJob:
        key = self._key(tenant, image, plan)
        if self.reduces is not None and ref.detail is Detail.AUTO and self.reduces(key):
            fewer = reduced(self.geometry, image, plan)
            if fewer.tiles < plan.tiles:
                return ImageJob(self._key(tenant, image, fewer), image, fewer, ref.path, reduced=True)
        return ImageJob(key, image, plan, ref.path)

    def _key(self, tenant: str, image: ImageBytes, plan: ImagePlan) -> str:
        return content_key(
            tenant, self.geometry.facts.fingerprint, self.fingerprint, repr(plan.views), image.data
        )


@dataclass(frozen=True, slots=True)
class ImageSizer:
    """For counting: the same plans from the images' headers, also where they do not fit `context`."""

    ingest: Ingest
    geometry: Geometry
    context: int

    async def jobs(self, request: ChatRequest) -> list[ImageJob]:
        """Plans without bytes. Their keys are numbers and name nothing that is stored."""
        if not request.images:
            return []
        _must_take_images(self.geometry, request)
        budget, timings, caller = self.ingest.budget(), request.record.timings, request.caller.name
        images = await gather_or_cancel(
            [self.ingest.measure(ref, timings, budget, caller=caller) for ref in request.images]
        )
        budget.check_pixels(images, [ref.path for ref in request.images])
        plans = as_near_as_can_be(self.geometry, request.images, images, self.context)
        return [
            ImageJob(f"{number:064x}", image, plan, ref.path)
            for number, (ref, image, plan) in enumerate(zip(request.images, images, plans, strict=True))
        ]


def reduced(geometry: Geometry, image: ImageBytes, plan: ImagePlan) -> ImagePlan:
    """A quarter of the plan's tiles, or as many as with `low` if those are more."""
    least = geometry.plan(image.width, image.height, Detail.LOW).tiles
    if least >= plan.tiles:
        return plan
    most = max(least, plan.tiles // SHARE)
    return geometry.plan(image.width, image.height, Detail.AUTO, most)


def _must_take_images(geometry: Geometry, request: ChatRequest) -> None:
    if not geometry.facts.takes_images:
        raise InvalidRequest(f"The model {request.model} takes no images.", param=request.images[0].path)


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
        processed=(grid.width, grid.height),
        placement=placement(grid, job.image.width, job.image.height),
        grid=(grid.columns, grid.rows),
        tiles=job.plan.tiles,
        tokens=job.plan.tokens,
        detail=job.plan.detail,
        cached=cached,
        reduced=job.reduced,
    )


def placement(view: View, width: int, height: int) -> tuple[int, int, int, int]:
    """Where on a view's canvas the whole of an image of `width` × `height` pixels would be: (left, top, width,
    height)."""
    left, top, crop_width, crop_height = view.crop or (0, 0, width, height)
    across, down = view.resize or (view.width, view.height)
    return (
        view.offset[0] - round(left * across / crop_width),
        view.offset[1] - round(top * down / crop_height),
        round(width * across / crop_width),
        round(height * down / crop_height),
    )
