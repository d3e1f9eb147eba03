"""Canvas, pixels and layouts of any image, held against transformers' processors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor, Cohere2VisionImageProcessor
from transformers.models.cohere2_vision.image_processing_cohere2_vision import get_optimal_tiled_canvas

from service.decode.tiling import cut
from service.domain import Detail, ImagePlan, Run
from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.base import FamilyFacts
from service.families.cohere2_vision.canvas import covering_grid
from service.families.cohere2_vision.geometry import Cohere2VisionGeometry
from tests.service import tiny_cohere2_vision

FACTS = FamilyFacts(family="cohere2_vision", architecture="", placeholders=("<|IMG_PATCH|>",), fingerprint="")
START, END, IMAGE, BREAK = 1, 2, 3, 4
sides = st.integers(1, 20_000) | st.sampled_from([1, 2, 511, 512, 513, 1024, 1536, 65_535])
mosts = st.integers(1, 16)


def made(most: int = 12, *, tile: int = 512, tokens: int = 256) -> Cohere2VisionGeometry:
    return Cohere2VisionGeometry(
        facts=FACTS,
        tile_width=tile,
        tile_height=tile,
        patches_per_tile=4 * tokens,
        tokens_per_tile=tokens,
        min_patches=1,
        max_patches=most,
        start_token=START,
        context_token=IMAGE,
        end_token=END,
        line_break_token=BREAK,
    )


HUB = made()


@given(sides, sides, mosts, st.sampled_from([56, 364, 512]))
@example(512, 512, 12, 512)  # as large as a tile
@example(513, 512, 12, 512)  # a pixel more than a tile
@example(1024, 1, 12, 512)
@example(3000, 3000, 12, 512)  # larger than every grid, and 3 × 3 shrinks as little as 3 × 4
@example(30_000, 10, 12, 512)
def test_the_canvas_is_transformers(width: int, height: int, most: int, tile: int) -> None:
    theirs = get_optimal_tiled_canvas((height, width), (tile, tile), 1, most)
    assert covering_grid(width, height, tile, most) == tuple(theirs)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([1, 2, 5, 12]))
@example(1, 400, 5)
@example(400, 1, 5)
@example(1, 1, 5)
@example(28, 28, 5)
@example(3, 300, 12)
def test_tiles_are_transformers(width: int, height: int, most: int) -> None:
    geometry = made(most, tile=28, tokens=4)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    for detail, crops in ((Detail.HIGH, True), (Detail.LOW, False)):
        processor = Cohere2VisionImageProcessor(
            size={"height": 28, "width": 28},
            max_patches=most,
            crop_to_patches=crops,
            do_rescale=False,
            do_normalize=False,
        )
        seen = processor(
            images=[pixels.permute(2, 0, 1)], input_data_format="channels_first", return_tensors="pt"
        )
        plan = geometry.plan(width, height, detail)
        ours = torch.cat(cut(pixels, plan.views))
        assert torch.equal(ours, seen["pixel_values"].to(torch.uint8).permute(0, 2, 3, 1))
        assert seen["num_patches"].tolist() == [plan.tiles]


def check(geometry: Cohere2VisionGeometry, plan: ImagePlan) -> None:
    """A plan's parts agree, and none costs more than the largest."""
    assert plan.tokens == plan.tower_rows == plan.tiles * geometry.tokens_per_tile <= geometry.max_tokens
    assert plan.patches == plan.tiles * geometry.patches_per_tile <= geometry.largest.patches
    assert plan.layout.positions == plan.tokens + plan.tiles + 2 <= geometry.largest.layout.positions
    assert sum(view.tile_bytes for view in plan.views) <= sum(v.tile_bytes for v in geometry.largest.views)


@given(sides, sides, st.sampled_from(Detail), st.none() | st.integers(1, 20), mosts)
def test_a_plan_agrees_with_itself(
    width: int, height: int, detail: Detail, tiles: int | None, most: int
) -> None:
    geometry = made(most)
    plan = geometry.plan(width, height, detail, tiles)
    check(geometry, plan)
    if detail is Detail.AUTO:
        assert tiles is None or plan.tiles <= tiles
        assert (plan.detail == "low") == (plan.tiles == 1)
    elif detail is Detail.HIGH:
        assert plan == geometry.plan(width, height, detail)


@given(sides, sides)
def test_fewer_tiles_never_take_more_positions(width: int, height: int) -> None:
    taken = [HUB.plan(width, height, Detail.AUTO, most).layout.positions for most in range(1, 16)]
    assert taken == sorted(taken)
    assert taken[-1] == HUB.plan(width, height, Detail.HIGH).layout.positions


@given(sides, sides, st.integers(1, 4000), st.sampled_from(Detail))
def test_no_image_passes_the_operators_limit(width: int, height: int, most: int, detail: Detail) -> None:
    try:
        geometry = HUB.limited(most)
    except ConfigurationError as error:
        assert most < 256 and f"max_image_tokens ({most}) is less than the 256 of one tile" in str(error)
        return
    assert geometry.max_tokens <= most
    check(geometry, geometry.plan(width, height, detail))


@given(mosts)
def test_an_image_of_the_largest_size_takes_the_most_tokens(most: int) -> None:
    geometry = made(most)
    view = geometry.largest.views[0]
    assert geometry.plan(view.width, view.height, Detail.HIGH) == geometry.largest
    assert geometry.largest.tokens == geometry.max_tokens


def test_each_tile_ends_with_a_line_break() -> None:
    tile = Run(IMAGE, 256, True), Run(BREAK, 1, False)
    layout = HUB.plan(1024, 500, Detail.HIGH).layout
    assert layout.target == (IMAGE,)
    assert layout.runs == (Run(START, 1, False), *tile, *tile, *tile, Run(END, 1, False))
    assert HUB.plan(1024, 500, Detail.LOW).layout.runs == (Run(START, 1, False), *tile, Run(END, 1, False))


@pytest.mark.parametrize(
    ("size", "tiles"),
    [((512, 512), 1), ((1, 1), 1), ((640, 480), 3), ((1920, 1080), 13), ((9000, 100), 13), ((100, 600), 3)],
)
def test_what_the_hubs_checkpoint_takes(size: tuple[int, int], tiles: int) -> None:
    plan = HUB.plan(*size, Detail.HIGH)
    assert (plan.tiles, plan.tokens) == (tiles, 256 * tiles)
    assert HUB.plan(*size, Detail.AUTO).views == plan.views


@pytest.mark.parametrize("arguments", [(0, 5), (5, 0), (-1, 5)])
def test_sizes_below_one_are_errors(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        HUB.plan(*arguments, Detail.HIGH)
    with pytest.raises(ValueError, match="max_tiles"):
        HUB.plan(5, 5, Detail.AUTO, 0)


@pytest.mark.parametrize("limit", [None, 16])
def test_the_layout_is_the_processors_prompt(
    tmp_path_factory: pytest.TempPathFactory, limit: int | None
) -> None:
    """Also by the options with which pass-through applies `low` and a limit."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_cohere2_vision.write_checkpoint(folder)
    geometry, processor = load_geometry(folder, limit), AutoProcessor.from_pretrained(folder)
    sizes = ((300, 200), (56, 56), (40, 700), (3, 1))
    for detail in (Detail.LOW, Detail.HIGH):
        for size in sizes:
            (ids,) = processor(
                text=processor.image_token,
                images=[Image.new("RGB", size)],
                **geometry.processor_options(detail),
            )["input_ids"]
            runs = geometry.plan(*size, detail).layout.runs
            assert [run.token for run in runs for _ in range(run.count)] == list(ids), (size, detail)
