"""An overview and tiles of any image, held against transformers' processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import LlavaOnevisionImageProcessor

from service.decode.tiling import cut
from service.domain import Detail, ImagePlan
from service.errors import ConfigurationError
from service.families.base import FamilyFacts
from service.families.llava_onevision.geometry import LlavaOnevisionGeometry
from tests.service.families.llava.test_geometry import sizes
from tests.service.tiny_llava_onevision import GRID, PINPOINTS, TILE

FACTS = FamilyFacts(
    family="llava_onevision", architecture="", placeholders=("<image>",), fingerprint="", max_ratio=200
)
CANVASES = tuple((width, height) for height, width in PINPOINTS)


def made(canvases: Any = CANVASES, tile: int = TILE, grid: int = GRID) -> LlavaOnevisionGeometry:
    return LlavaOnevisionGeometry(FACTS, tile, grid, tuple(canvases), image_token=9)


HUB = made([(384 * x, 384 * y) for y in range(1, 7) for x in range(1, 7)], tile=384, grid=27)
TINY = made()


@settings(max_examples=60, deadline=None)
@given(sizes())
@example((1, 200))
@example((60, 60))
@example((300, 180))
def test_tiles_are_transformers(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    processor = LlavaOnevisionImageProcessor(
        size={"height": TILE, "width": TILE},
        image_grid_pinpoints=PINPOINTS,
        do_rescale=False,
        do_normalize=False,
    )
    theirs = processor(images=[torch.from_numpy(pixels).permute(2, 0, 1)], return_tensors="pt")
    ours = torch.cat(cut(torch.from_numpy(pixels), TINY.plan(*size, Detail.HIGH).views))
    assert torch.equal(ours, theirs["pixel_values"][0].to(torch.uint8).permute(0, 2, 3, 1))


def check(geometry: LlavaOnevisionGeometry, plan: ImagePlan) -> None:
    """A plan's parts agree, and none costs more than the largest."""
    made = plan.token_map
    assert made is not None
    assert plan.tokens == len(made.index) // made.summed <= geometry.max_tokens
    assert made.weights is None or len(made.weights) == len(made.index)
    assert plan.tower_rows == plan.patches == plan.tiles * geometry.grid**2 <= geometry.largest.patches
    assert 0 <= min(made.index) <= max(made.index) <= plan.tower_rows
    assert sum(view.tile_bytes for view in plan.views) <= sum(v.tile_bytes for v in geometry.largest.views)


@settings(deadline=None)
@given(sizes(longest=5000), st.sampled_from(Detail), st.none() | st.integers(1, 30))
def test_a_plan_agrees_with_itself(size: tuple[int, int], detail: Detail, most: int | None) -> None:
    plan = TINY.plan(*size, detail, most)
    check(TINY, plan)
    if detail is Detail.AUTO and most is not None:
        assert plan.tiles <= most
    grid = plan.views[plan.grid]
    assert (plan.tiles == 1) == (plan.grid == 0) and grid.tiles == max(view.tiles for view in plan.views)


@settings(deadline=None)
@given(sizes(longest=5000))
@example((1200, 1200))
@example((490, 1620))
def test_fewer_tiles_never_take_more_positions(size: tuple[int, int]) -> None:
    taken = [TINY.plan(*size, Detail.AUTO, most).layout.positions for most in range(1, 28)]
    assert taken == sorted(taken)
    assert taken[-1] == max(TINY.plan(*size, Detail.AUTO).tokens, GRID**2 + 1)


@settings(max_examples=40, deadline=None)
@given(sizes(longest=5000), st.integers(1, 9000), st.sampled_from(Detail))
@example((1153, 944), 8747, Detail.HIGH)
def test_no_image_passes_the_operators_limit(size: tuple[int, int], most: int, detail: Detail) -> None:
    try:
        geometry = HUB.limited(most)
    except ConfigurationError as error:
        assert most < 730 and f"max_image_tokens ({most}) is less than the 730" in str(error)
        return
    assert geometry.max_tokens <= most
    check(geometry, geometry.plan(*size, detail))


def test_what_the_hubs_checkpoint_takes() -> None:
    assert HUB.plan(1153, 944, Detail.HIGH).tokens == 729 + 98 * 81 + 81 == 8748
    assert HUB.max_tokens == 729 + 49 * 162 + 162 == 8829  # of a canvas of three by six tiles
    assert HUB.largest.tiles == 37 and HUB.limited(HUB.max_tokens) is HUB
    plan = HUB.plan(640, 480, Detail.HIGH)
    assert (plan.tiles, plan.detail) == (5, "high")
    low = HUB.plan(640, 480, Detail.LOW)
    assert (low.tiles, low.tokens, low.detail, low.grid) == (1, 730, "low", 0)
    large = HUB.plan(4000, 4000, Detail.HIGH)
    assert (large.tiles, large.tokens) == (37, 729 + 81 * 81 + 81)
