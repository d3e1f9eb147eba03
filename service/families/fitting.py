"""Fits the images of one request into the model's context, from their sizes alone.

`low` and `high` are the client's choice and are kept. `auto` starts as high as the checkpoint allows and gives up
tiles, evenly, until the images take at most half of the context; the other half belongs to the text. Works for any
family that implements `Geometry`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from service.domain import Detail, ImageBytes, ImagePlan, ImageRef
from service.errors import ContextLengthExceeded
from service.families.base import Geometry


def fit(
    geometry: Geometry, refs: Sequence[ImageRef], images: Sequence[ImageBytes], context: int
) -> list[ImagePlan]:
    """One plan per image, in order.

    Raises ContextLengthExceeded, which tells the tokens of each image, when no plan fits `context` tokens.
    """
    plans = as_near_as_can_be(geometry, refs, images, context)
    if geometry.facts.counted and _positions(plans) >= context:
        each = ", ".join(
            f"{ref.path}: {plan.layout.positions}" for ref, plan in zip(refs, plans, strict=True)
        )
        raise ContextLengthExceeded(
            f"the images take {_positions(plans)} tokens and the model's context is {context} ({each}). "
            "Send fewer images, or ask for detail: low.",
            param="messages",
        )
    return plans


def as_near_as_can_be(
    geometry: Geometry, refs: Sequence[ImageRef], images: Sequence[ImageBytes], context: int
) -> list[ImagePlan]:
    """The same plans, also where even they do not fit."""
    plans = _plans(geometry, refs, images, None)
    if not geometry.facts.counted or _positions(plans) <= context // 2:
        return plans
    # fewer tiles never take more positions, so the most that leave half of the context are found by halves
    most = bisect_right(
        range(1, max(plan.tiles for plan in plans)),
        context // 2,
        key=lambda tiles: _positions(_plans(geometry, refs, images, tiles)),
    )
    return _plans(geometry, refs, images, max(1, most))


def _plans(
    geometry: Geometry, refs: Sequence[ImageRef], images: Sequence[ImageBytes], most: int | None
) -> list[ImagePlan]:
    return [
        geometry.plan(image.width, image.height, ref.detail, most if ref.detail is Detail.AUTO else None)
        for ref, image in zip(refs, images, strict=True)
    ]


def _positions(plans: Sequence[ImagePlan]) -> int:
    return sum(plan.layout.positions for plan in plans)
