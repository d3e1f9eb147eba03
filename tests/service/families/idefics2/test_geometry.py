"""Views, pixels and layouts of any image, held against transformers' processors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import Idefics2ImageProcessor

from service.decode.tiling import cut
from service.domain import Detail, Run
from service.errors import ConfigurationError
from service.families.base import FamilyFacts
from service.families.idefics2.geometry import Idefics2Geometry

FACTS = FamilyFacts(family="idefics2", architecture="", placeholders=("<image>",), fingerprint="")
IMAGE, FAKE = 1, 2
SMALL = Idefics2Geometry(FACTS, 14, 30, 75, True, 5, IMAGE, FAKE)
HUB = Idefics2Geometry(FACTS, 14, 378, 980, True, 64, IMAGE, FAKE)
sides = st.integers(2, 900)


def processor_of(geometry: Idefics2Geometry, **options: Any) -> Idefics2ImageProcessor:
    return Idefics2ImageProcessor(
        size={"shortest_edge": geometry.shortest, "longest_edge": geometry.longest},
        do_rescale=False,
        do_normalize=False,
        **options,
    )


@settings(max_examples=80, deadline=None)
@given(sides, sides)
@example(2, 900)
@example(900, 2)
@example(2, 2)
@example(3, 3)
@example(75, 74)
@example(150, 151)
def test_views_are_transformers(width: int, height: int) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    for detail, splits in ((Detail.HIGH, True), (Detail.LOW, False)):
        seen = processor_of(SMALL, do_image_splitting=splits)(
            images=[[pixels.permute(2, 0, 1)]], return_tensors="pt"
        )
        views = SMALL.plan(width, height, detail).views
        theirs, real = seen["pixel_values"][0], seen["pixel_attention_mask"][0]
        assert len(theirs) == len(views)
        for view, ours, padded, mask in zip(views, cut(pixels, views), theirs, real, strict=True):
            size = int(mask.any(0).sum()), int(mask.any(1).sum())
            assert size == view.resize
            # a patch counts where all of its pixels do
            assert (view.width, view.height) == tuple(side // 14 * 14 for side in size)
            assert torch.equal(ours[0], padded.to(torch.uint8).permute(1, 2, 0)[: view.height, : view.width])


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from(Detail), st.none() | st.integers(1, 9))
def test_a_plan_agrees_with_itself(width: int, height: int, detail: Detail, most: int | None) -> None:
    plan = HUB.plan(max(width, 2), max(height, 2), detail, most)
    assert plan.tokens == plan.tower_rows == 64 * plan.tiles <= HUB.max_tokens
    assert plan.patches == sum(view.width // 14 * (view.height // 14) for view in plan.views)
    assert plan.patches <= HUB.largest.patches and plan.layout.positions <= HUB.largest.layout.positions
    assert sum(view.tile_bytes for view in plan.views) <= sum(view.tile_bytes for view in HUB.largest.views)
    assert plan.layout.positions == plan.tokens + plan.tiles + 1
    if detail is Detail.AUTO and most is not None:
        assert plan.tiles <= most


@given(sides, sides)
def test_fewer_tiles_never_take_more_positions(width: int, height: int) -> None:
    taken = [HUB.plan(width, height, Detail.AUTO, most).layout.positions for most in range(1, 8)]
    assert taken == sorted(taken)
    assert taken[-1] == HUB.plan(width, height, Detail.HIGH).layout.positions


def test_neighbours_share_the_word_between_them() -> None:
    layout = SMALL.plan(60, 60, Detail.HIGH).layout
    fake, soft = Run(FAKE, 1, False), Run(IMAGE, 5, True)
    assert (layout.target, layout.runs) == ((IMAGE,), (*(fake, soft) * 5, fake))
    assert (layout.joins, layout.spaced) == (((FAKE, FAKE, FAKE),), True)
    assert SMALL.plan(60, 60, Detail.LOW).layout.runs == (fake, soft, fake)


def test_the_largest_image() -> None:
    assert HUB.largest.patches == 5 * 70**2
    assert HUB.plan(1960, 1960, Detail.HIGH) == HUB.largest
    assert HUB.largest.views[HUB.largest.grid].crop == (0, 0, 1960, 1960)


def test_limits() -> None:
    assert HUB.limited(320) is HUB
    assert HUB.limited(319).max_tokens == HUB.limited(64).max_tokens == 64
    with pytest.raises(ConfigurationError, match=r"max_image_tokens \(63\) is less than the 64 of one view"):
        HUB.limited(63)


def test_levels_of_detail() -> None:
    high, low = HUB.plan(640, 480, Detail.HIGH), HUB.plan(640, 480, Detail.LOW)
    assert (high.detail, high.tokens, low.detail, low.tokens) == ("high", 320, "low", 64)
    assert HUB.plan(640, 480, Detail.AUTO) == HUB.plan(640, 480, Detail.AUTO, 5) == high
    assert HUB.plan(640, 480, Detail.AUTO, 4) == low
    whole = replace(HUB, splits=False)
    assert (whole.plan(640, 480, Detail.HIGH).detail, whole.plan(640, 480, Detail.HIGH).tokens) == (
        "high",
        64,
    )


def test_pass_through_applies_low_and_a_limit() -> None:
    off = {"do_image_splitting": False}
    assert (HUB.processor_options("high"), HUB.processor_options("low")) == ({}, off)
    assert HUB.limited(64).processor_options("high") == off
    assert replace(HUB, splits=False).processor_options("low") == {}


def test_sizes_that_cannot_be_planned_are_errors() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        HUB.plan(0, 5, Detail.HIGH)
