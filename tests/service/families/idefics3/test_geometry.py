"""Splitting, pixels and layouts of any image, held against transformers' processors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import Idefics3ImageProcessor

from service.decode.tiling import cut
from service.domain import Detail, ImagePlan, Run
from service.errors import ConfigurationError
from service.families.base import FamilyFacts
from service.families.idefics3.geometry import Idefics3Geometry
from service.families.idefics3.splitting import enlarged, whole_tiles

FACTS = FamilyFacts(family="idefics3", architecture="", placeholders=("<image>",), fingerprint="")
IMAGE, FAKE, GLOBAL, NEWLINE, NEWLINES = 1, 2, 3, 4, 5
sides = st.integers(1, 900)


def made(
    tile: int = 28, most: int = 3, *, tokens: int = 4, newlines: int | None = NEWLINES
) -> Idefics3Geometry:
    words = tuple(tuple(10 * row + column for column in range(1, most + 1)) for row in range(1, most + 1))
    return Idefics3Geometry(
        FACTS, tile, most, 4 * tokens, tokens, IMAGE, FAKE, GLOBAL, NEWLINE, newlines, words
    )


HUB = made(512, 4, tokens=64)


def processor_of(geometry: Idefics3Geometry, **options: Any) -> Idefics3ImageProcessor:
    return Idefics3ImageProcessor(
        size={"longest_edge": geometry.most * geometry.tile},
        max_image_size={"longest_edge": geometry.tile},
        do_rescale=False,
        do_normalize=False,
        **options,
    )


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.sampled_from([(28, 3), (28, 1), (30, 4), (26, 2)]))
@example(1, 900, (28, 3))
@example(900, 1, (28, 3))
@example(1, 1, (28, 3))
@example(84, 29, (28, 3))
def test_tiles_are_transformers(width: int, height: int, sizes: tuple[int, int]) -> None:
    geometry = made(*sizes)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    for detail, splits in ((Detail.HIGH, True), (Detail.LOW, False)):
        processor = processor_of(geometry, do_image_splitting=splits)
        theirs = processor(images=[[pixels.permute(2, 0, 1)]], return_tensors="pt")["pixel_values"][0]
        ours = torch.cat(cut(pixels, geometry.plan(width, height, detail).views))
        assert torch.equal(ours, theirs.to(torch.uint8).permute(0, 2, 3, 1))


@given(
    st.integers(1, 20_000),
    st.integers(1, 20_000),
    st.sampled_from([(28, 3), (364, 4), (384, 4), (512, 4), (364, 5)]),
)
@example(2048, 513, (512, 4))
@example(513, 2048, (512, 4))
def test_rows_and_columns_are_the_processors(width: int, height: int, sizes: tuple[int, int]) -> None:
    geometry = made(*sizes)
    tiles, rows, columns = processor_of(geometry).get_number_of_image_patches(height, width)
    plan = geometry.plan(width, height, Detail.HIGH)
    if tiles == 0:
        assert (plan.tiles, plan.grid, len(plan.views)) == (1, 0, 1)
    else:
        grid = plan.views[plan.grid]
        assert (grid.rows, grid.columns, plan.tiles) == (rows, columns, tiles)


def check(geometry: Idefics3Geometry, plan: ImagePlan) -> None:
    """A plan's parts agree, and none costs more than the largest."""
    assert plan.tokens == plan.tower_rows == plan.tiles * geometry.tokens <= geometry.max_tokens
    assert plan.patches == plan.tiles * geometry.patches <= geometry.largest.patches
    assert plan.layout.positions <= geometry.largest.layout.positions
    assert sum(view.tile_bytes for view in plan.views) <= sum(v.tile_bytes for v in geometry.largest.views)


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from(Detail), st.none() | st.integers(1, 20))
def test_a_plan_agrees_with_itself(width: int, height: int, detail: Detail, most: int | None) -> None:
    plan = HUB.plan(width, height, detail, most)
    check(HUB, plan)
    if detail is Detail.AUTO and most is not None:
        assert plan.tiles <= most


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_fewer_tiles_never_take_more_positions(width: int, height: int) -> None:
    taken = [HUB.plan(width, height, Detail.AUTO, most).layout.positions for most in range(1, 19)]
    assert taken == sorted(taken)
    assert taken[-1] == HUB.plan(width, height, Detail.HIGH).layout.positions


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 1300), st.sampled_from(Detail))
def test_no_image_passes_the_operators_limit(width: int, height: int, most: int, detail: Detail) -> None:
    try:
        geometry = HUB.limited(most)
    except ConfigurationError as error:
        assert most < 64 and f"max_image_tokens ({most}) is less than the 64 of one tile" in str(error)
        return
    assert geometry.max_tokens <= most
    check(geometry, geometry.plan(width, height, detail))


def test_words_name_rows_and_columns_and_the_overview_comes_last() -> None:
    def tile(word: int) -> tuple[Run, ...]:
        return Run(FAKE, 1, False), Run(word, 1, False), Run(IMAGE, 4, True)

    layout = made().plan(84, 56, Detail.HIGH).layout
    line = [*tile(11), *tile(12), *tile(13)], [*tile(21), *tile(22), *tile(23)]
    end = (*tile(GLOBAL), Run(FAKE, 1, False))
    assert layout.target == (IMAGE,)
    assert layout.runs == (
        *line[0], Run(NEWLINE, 1, False), *line[1], Run(NEWLINES, 1, False), *end
    )  # fmt: skip
    apart = made(newlines=None).plan(84, 56, Detail.HIGH).layout
    assert apart.runs == (*line[0], Run(NEWLINE, 1, False), *line[1], Run(NEWLINE, 2, False), *end)
    assert made().plan(84, 56, Detail.LOW).layout.runs == end


def test_what_the_hubs_checkpoint_takes() -> None:
    assert HUB.max_tokens == 17 * 64
    plan = HUB.plan(640, 480, Detail.HIGH)
    assert (plan.tiles, plan.tokens, plan.views[0].via) == (13, 13 * 64, ((2048, 1536),))
    assert HUB.plan(640, 480, Detail.AUTO) == plan
    low = HUB.plan(640, 480, Detail.LOW)
    assert (low.tiles, low.tokens, low.detail) == (1, 64, "low")
    assert HUB.plan(640, 480, Detail.AUTO, 1) == low
    assert HUB.plan(640, 480, Detail.AUTO, 7).tiles == 5


def test_limits() -> None:
    assert HUB.limited(17 * 64) is HUB
    assert (HUB.limited(17 * 64 - 1).most, HUB.limited(5 * 64).most, HUB.limited(5 * 64 - 1).most) == (
        3,
        2,
        1,
    )
    assert HUB.limited(64).max_tokens == 64


def test_pass_through_applies_low_and_a_limit() -> None:
    assert HUB.processor_options("high") == {}
    assert HUB.processor_options("low") == {"do_image_splitting": False}
    limited = HUB.limited(700)
    assert limited.processor_options("high") == {"size": {"longest_edge": 1536}}
    assert limited.processor_options("low") == {"size": {"longest_edge": 1536}, "do_image_splitting": False}


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 6))
def test_sizes_on_the_way_to_whole_tiles(width: int, height: int, most: int) -> None:
    first = enlarged(width, height, most * 32)
    assert max(first) == most * 32 and min(first) >= 1
    canvas = whole_tiles(*first, 32)
    assert all(side % 32 == 0 and 32 <= side <= most * 32 for side in canvas)
