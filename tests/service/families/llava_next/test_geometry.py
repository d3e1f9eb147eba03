"""An overview and tiles of any image, held against transformers' processor and packing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import LlavaNextImageProcessor

from service.decode.tiling import cut
from service.domain import Detail, ImagePlan
from service.errors import ConfigurationError, InvalidRequest
from service.families.base import FamilyFacts
from service.families.llava_next.geometry import LlavaNextGeometry
from tests.service.families.llava.test_geometry import sizes
from tests.service.tiny_llava import GRID, PINPOINTS, TILE

FACTS = FamilyFacts(
    family="llava_next", architecture="", placeholders=("<image>",), fingerprint="", max_ratio=200
)
CANVASES = tuple((width, height) for height, width in PINPOINTS)
MANY = tuple((TILE * x, TILE * y) for x in range(1, 7) for y in range(1, 7) if x * y <= 9)


def made(canvases: Any = CANVASES, tile: int = TILE, grid: int = GRID) -> LlavaNextGeometry:
    return LlavaNextGeometry(FACTS, tile, grid, tuple(canvases), image_token=9)


HUB = made(((672, 336), (336, 672), (672, 672), (336, 1008), (1008, 336)), tile=336, grid=24)


@settings(max_examples=80, deadline=None)
@given(sizes(), st.sampled_from([CANVASES, MANY]))
@example((1, 200), CANVASES)
@example((56, 56), CANVASES)
def test_tiles_are_transformers(size: tuple[int, int], canvases: tuple[tuple[int, int], ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    processor = LlavaNextImageProcessor(
        size={"shortest_edge": TILE},
        crop_size={"height": TILE, "width": TILE},
        image_grid_pinpoints=[[height, width] for width, height in canvases],
        do_rescale=False,
        do_normalize=False,
    )
    theirs = processor(images=[torch.from_numpy(pixels).permute(2, 0, 1)], return_tensors="pt")[
        "pixel_values"
    ][0]
    ours = torch.cat(cut(torch.from_numpy(pixels), made(canvases).plan(*size, Detail.HIGH).views))
    assert torch.equal(ours, theirs.to(torch.uint8).permute(0, 2, 3, 1))


def check(geometry: LlavaNextGeometry, plan: ImagePlan) -> None:
    """A plan's parts agree, and none costs more than the largest."""
    assert plan.token_map is not None
    assert plan.tokens == len(plan.token_map.index) <= geometry.max_tokens
    assert plan.tower_rows == plan.patches == plan.tiles * geometry.grid**2 <= geometry.largest.patches
    assert 0 <= min(plan.token_map.index) <= max(plan.token_map.index) <= plan.tower_rows
    assert sum(view.tile_bytes for view in plan.views) <= sum(v.tile_bytes for v in geometry.largest.views)


@given(
    sizes(longest=5000),
    st.sampled_from(Detail),
    st.none() | st.integers(1, 12),
    st.sampled_from([CANVASES, MANY]),
)
def test_a_plan_agrees_with_itself(
    size: tuple[int, int], detail: Detail, most: int | None, canvases: tuple[tuple[int, int], ...]
) -> None:
    geometry = made(canvases)
    plan = geometry.plan(*size, detail, most)
    check(geometry, plan)
    if detail is Detail.AUTO and most is not None:
        assert plan.tiles <= most
    grid = plan.views[plan.grid]
    assert (plan.tiles == 1) == (plan.grid == 0) and grid.tiles == max(view.tiles for view in plan.views)


@given(sizes(longest=5000), st.sampled_from([CANVASES, MANY]))
def test_fewer_tiles_never_take_more_positions(
    size: tuple[int, int], canvases: tuple[tuple[int, int], ...]
) -> None:
    geometry = made(canvases)
    taken = [geometry.plan(*size, Detail.AUTO, most).layout.positions for most in range(1, 12)]
    assert taken == sorted(taken)


@given(sizes(longest=5000), st.integers(1, 3000), st.sampled_from(Detail))
def test_no_image_passes_the_operators_limit(size: tuple[int, int], most: int, detail: Detail) -> None:
    try:
        geometry = HUB.limited(most)
    except ConfigurationError as error:
        assert most < 577 and f"max_image_tokens ({most}) is less than the 577" in str(error)
        return
    assert geometry.max_tokens <= most
    plan = geometry.plan(*size, detail)
    check(geometry, plan)


def test_what_the_hubs_checkpoint_takes() -> None:
    assert HUB.max_tokens == 576 + 4 * 576 + 48 == 2928
    assert HUB.largest.tiles == 5 and HUB.limited(2928) is HUB
    plan = HUB.plan(640, 480, Detail.HIGH)
    assert (plan.tiles, plan.tokens, plan.detail) == (5, 576 + 36 * 48 + 36, "high")
    low = HUB.plan(640, 480, Detail.LOW)
    assert (low.tiles, low.tokens, low.detail, low.grid) == (1, 577, "low", 0)
    assert HUB.plan(640, 480, Detail.AUTO) == plan
    assert HUB.plan(640, 480, Detail.AUTO, 1) == low


def test_pass_through_cannot_apply_low_or_a_limit() -> None:
    assert HUB.processor_options("high") == {}
    with pytest.raises(InvalidRequest, match="detail: low cannot be applied .* images=handles"):
        HUB.processor_options("low")
    with pytest.raises(InvalidRequest, match="max_image_tokens cannot be applied"):
        HUB.limited(1800).processor_options("high")
