"""Fits the images of one request into the model's context, from their sizes alone.

`low` and `high` are the client's word and are kept. `auto` starts as high as the checkpoint allows and gives tiles
back, evenly, until the images take at most half of the context; the other half belongs to the text. Knows no family
and no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Detail, ImageBytes, ImageRef, TilePlan
from service.errors import ContextLengthExceeded
from service.families.base import Geometry


def fit(
    geometry: Geometry, refs: Sequence[ImageRef], images: Sequence[ImageBytes], context: int
) -> list[TilePlan]:
    """One plan per image, in order.

    Raises ContextLengthExceeded, which tells the tokens of each image, when no plan fits `context` tokens.
    """
    plans = _plans(geometry, refs, images, None)
    most = max((plan.tiles for plan in plans), default=0)
    while _positions(geometry, plans) > context // 2 and most > 1:
        most -= 1
        plans = _plans(geometry, refs, images, most)
    if _positions(geometry, plans) >= context:
        each = ", ".join(
            f"{ref.path}: {geometry.layout(plan).positions}" for ref, plan in zip(refs, plans, strict=True)
        )
        raise ContextLengthExceeded(
            f"the images take {_positions(geometry, plans)} tokens and the model's context is {context} ({each}). "
            "Send fewer images, or ask for detail: low.",
            param="messages",
        )
    return plans


def _plans(
    geometry: Geometry, refs: Sequence[ImageRef], images: Sequence[ImageBytes], most: int | None
) -> list[TilePlan]:
    return [
        geometry.plan(image.width, image.height, ref.detail, most if ref.detail is Detail.AUTO else None)
        for ref, image in zip(refs, images, strict=True)
    ]


def _positions(geometry: Geometry, plans: Sequence[TilePlan]) -> int:
    return sum(geometry.layout(plan).positions for plan in plans)


def largest_plan(geometry: Geometry) -> TilePlan:
    """The plan of an image that takes `geometry.max_rows` soft tokens, or comes nearest to it."""
    sides = (64, 128, 256, 512, 1024, 2048, 4096)
    ratios = ((1, 1), (4, 3), (3, 4), (2, 1), (1, 2), (3, 1), (1, 3))
    plans = (
        geometry.plan(side * width, side * height, Detail.HIGH) for side in sides for width, height in ratios
    )
    return max(plans, key=lambda plan: (plan.rows, plan.patches))
