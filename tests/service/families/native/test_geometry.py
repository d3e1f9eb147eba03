"""The plan must be transformers' own for every size, to the pixel."""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from service.decode.tiling import cut
from service.domain import Detail, Run, SoftLayout, View
from service.families import load_geometry
from service.families.base import FamilyFacts
from service.families.native.geometry import LOW_PIXELS, NativeGeometry
from service.families.native.resize import MAX_RATIO
from tests.service.families.native.hub import PROCESSOR
from tests.service.tiny_qwen_vl import write_checkpoint

CELL = 28


def made(
    min_pixels: int = 3136, max_pixels: int = 12845056, kind: type[NativeGeometry] = NativeGeometry
) -> NativeGeometry:
    return kind(
        facts=FamilyFacts(
            family="qwen_vl",
            architecture="",
            placeholders=(),
            fingerprint="",
            max_ratio=MAX_RATIO,
            independent_tiles=False,
        ),
        patch=14,
        merge=2,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        image_token=7,
    )


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    """(width, height) that are admitted, narrow ones as often as others."""
    short = draw(st.integers(1, 60) | st.integers(1, 5000))
    long = draw(st.integers(short, 3 * short) | st.integers(short, 200 * short) | st.just(200 * short))
    return (long, short) if draw(st.booleans()) else (short, long)


@st.composite
def geometries(draw: st.DrawFn) -> NativeGeometry:
    most = draw(st.integers(1, 2_000_000) | st.integers(1, 400).map(lambda cells: cells * CELL**2))
    return made(draw(st.integers(1, min(most, 10_000)) | st.integers(max(1, most - 800), most)), most)


@given(sizes(), geometries())
def test_a_plan_has_transformers_patches(size: tuple[int, int], geometry: NativeGeometry) -> None:
    from transformers import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor(min_pixels=geometry.min_pixels, max_pixels=geometry.max_pixels)
    plan = geometry.plan(*size, Detail.HIGH)
    (view,) = plan.views
    assert plan.patches == processor.get_number_of_image_patches(size[1], size[0])
    assert plan.tokens == plan.tiles == plan.patches // 4 and plan.detail == "high"
    assert (view.tile_width, view.tile_height) == (CELL, CELL)
    assert plan.layout.grid == (1, view.height // 14, view.width // 14)


@example((5599, 28), made(200 * CELL**2, 200 * CELL**2))
@example((20_000, 100), made(1, 50 * CELL**2))
@given(sizes(), geometries())
def test_no_image_costs_more_than_the_largest(size: tuple[int, int], geometry: NativeGeometry) -> None:
    largest = geometry.largest
    for detail in Detail:
        plan = geometry.plan(*size, detail)
        assert plan.tokens <= geometry.max_tokens == largest.tokens
        assert plan.patches <= largest.patches and plan.tiles <= largest.tiles
    assert geometry.plan(*size, Detail.LOW).tokens <= geometry.plan(*size, Detail.HIGH).tokens


@given(sizes(), geometries(), st.integers(1, 20_000) | st.integers(1, 300))
def test_no_image_passes_the_operators_limit(
    size: tuple[int, int], geometry: NativeGeometry, most: int
) -> None:
    from transformers import Qwen2VLImageProcessor

    limited = geometry.limited(most)
    assert limited.max_tokens <= most
    processor = Qwen2VLImageProcessor(min_pixels=geometry.min_pixels, max_pixels=geometry.max_pixels)
    for detail in Detail:
        plan = limited.plan(*size, detail)
        assert plan.tokens <= most
        options: Any = limited.processor_options("low" if detail is Detail.LOW else "high")
        edges = options.get("size", processor.size)
        bounds = {"min_pixels": edges["shortest_edge"], "max_pixels": edges["longest_edge"]}
        assert plan.patches == processor.get_number_of_image_patches(size[1], size[0], bounds)


def test_a_limit_costs_a_photograph_little_and_one_above_the_largest_nothing() -> None:
    geometry = made()
    assert geometry.limited(16_384) is geometry
    assert geometry.limited(1280).plan(4000, 3000, Detail.AUTO).tokens == 41 * 30
    assert geometry.plan(4000, 3000, Detail.AUTO).tokens == 143 * 107
    assert (
        45
        <= geometry.limited(100).plan(1000, 1000, Detail.HIGH).tokens
        <= geometry.limited(100).max_tokens
        <= 100
    )
    for most in (*range(1, 400), 1279, 1280, 2048, 2999, 9001):
        assert 0.7 * most <= geometry.limited(most).max_tokens <= most


@given(geometries())
def test_an_image_of_the_largest_size_is_admitted(geometry: NativeGeometry) -> None:
    (view,) = geometry.largest.views
    assert view.width <= geometry.facts.max_ratio * view.height
    assert geometry.plan(view.width, view.height, Detail.HIGH).tokens <= geometry.max_tokens


@given(sizes(), geometries(), st.integers(1, 17_000))
def test_auto_stays_within_its_tiles_and_is_high_where_that_fits(
    size: tuple[int, int], geometry: NativeGeometry, most: int
) -> None:
    auto = geometry.plan(*size, Detail.AUTO, most)
    low, high = (geometry.plan(*size, detail) for detail in (Detail.LOW, Detail.HIGH))
    assert 1 <= auto.tiles <= most
    if high.tiles <= most:
        assert auto.views == high.views
    assert auto.detail == ("low" if auto.tokens <= low.tokens else "high")
    assert geometry.plan(*size, Detail.AUTO).views == high.views
    assert geometry.plan(*size, Detail.AUTO, most + 1).tokens >= auto.tokens
    assert geometry.plan(*size, Detail.AUTO, max(1, high.tiles - 1)).tiles < max(2, high.tiles)


@example(3559, 3559, 225)
@given(st.integers(300, 6000), st.integers(300, 6000), st.integers(200, 16_000))
def test_auto_uses_most_of_its_tiles_and_keeps_the_shape(width: int, height: int, most: int) -> None:
    geometry = made()
    auto, high = geometry.plan(width, height, Detail.AUTO, most), geometry.plan(width, height, Detail.HIGH)
    if high.tiles > most:
        (view,) = auto.views
        columns, rows = view.columns, view.rows
        # rounding down loses one row and one column at most; as in transformers, of 15 exactly it may leave 14
        assert (columns + 1) * (rows + 1) >= most
        assert columns / (rows + 1) < width / height < (columns + 1) / rows


def test_low_is_at_most_512_by_512(geometry: NativeGeometry) -> None:
    low = geometry.plan(4000, 3000, Detail.LOW, max_tiles=1)
    assert low.views == (View(588, 420, CELL, CELL),) and (low.detail, low.tokens) == ("low", 315)
    assert geometry.plan(512, 512, Detail.LOW).views == (View(504, 504, CELL, CELL),)
    small = made(max_pixels=10 * CELL**2)
    assert small.plan(4000, 3000, Detail.LOW).views == small.plan(4000, 3000, Detail.HIGH).views


@given(sizes())
def test_low_never_passes_its_pixels_where_the_checkpoint_allows(size: tuple[int, int]) -> None:
    (view,) = made().plan(*size, Detail.LOW).views
    assert view.width * view.height <= LOW_PIXELS


def test_low_and_high_are_the_clients_word(geometry: NativeGeometry) -> None:
    high = geometry.plan(4000, 3000, Detail.HIGH, max_tiles=5)
    assert high == geometry.plan(4000, 3000, Detail.HIGH) and high.tokens == 143 * 107
    # of a small image both are the same
    small = geometry.plan(200, 100, Detail.HIGH)
    assert small.detail == "high" and geometry.plan(200, 100, Detail.AUTO).detail == "low"
    assert geometry.plan(200, 100, Detail.LOW).views == small.views


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 5, Detail.HIGH), "at least one pixel"),
        ((5, -1, Detail.LOW), "at least one pixel"),
        ((5, 5, Detail.AUTO, 0), "max_tiles is at least 1"),
        ((2001, 10, Detail.LOW), "at most 200 times the shorter one, not 2001 × 10"),
        ((10, 2001, Detail.AUTO, 9), "at most 200 times"),
    ],
)
def test_sizes_that_cannot_be_planned_are_errors(
    geometry: NativeGeometry, arguments: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        geometry.plan(*arguments)


@pytest.mark.parametrize(
    ("width", "height", "detail"),
    [
        (640, 480, Detail.HIGH),
        (1920, 1080, Detail.HIGH),
        (1080, 1920, Detail.HIGH),
        (1920, 1080, Detail.LOW),
        (56, 84, Detail.HIGH),  # as it is
        (17, 9, Detail.HIGH),  # enlarged
        (2000, 10, Detail.HIGH),
        (3001, 2003, Detail.HIGH),
    ],
)
def test_cells_are_transformers_patches_to_the_pixel(
    geometry: NativeGeometry, width: int, height: int, detail: Detail
) -> None:
    from transformers import Qwen2VLImageProcessor

    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    (cells,) = cut(torch.from_numpy(pixels), geometry.plan(width, height, detail).views)
    # [cells, 28, 28, 3] → [cells, 2 × 2, 3, 14, 14], and each patch is of two equal frames
    patches = cells.reshape(-1, 2, 14, 2, 14, 3).permute(0, 1, 3, 5, 2, 4).reshape(-1, 3, 1, 14, 14)
    processor = Qwen2VLImageProcessor(**PROCESSOR)
    seen = processor(
        Image.fromarray(pixels),
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
        **geometry.processor_options(detail),
    )
    assert torch.equal(patches.expand(-1, -1, 2, -1, -1).reshape(len(patches), -1), seen["pixel_values"])
    assert geometry.plan(width, height, detail).layout.grid == tuple(seen["image_grid_thw"][0].tolist())


def test_what_a_checkpoint_says(geometry: NativeGeometry) -> None:
    assert (
        geometry.facts.family == "qwen_vl"
        and geometry.facts.architecture == "Qwen2_5_VLForConditionalGeneration"
    )
    assert (geometry.cell, geometry.min_pixels, geometry.max_pixels) == (28, 3136, 12845056)
    assert (geometry.facts.min_side, geometry.facts.max_ratio) == (1, 200)
    assert geometry.max_tokens == 16384 and geometry.largest.views == (View(3584, 3584, CELL, CELL),)
    assert geometry.facts.placeholders == (
        *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_pad|>"),
    )
    # 1009 cells would be a single row, or column
    assert made(max_pixels=1009 * CELL**2).largest.views == (View(101 * CELL, 10 * CELL, CELL, CELL),)


def test_the_layout_is_the_image_token_alone(geometry: NativeGeometry) -> None:
    plan = geometry.plan(280, 140, Detail.HIGH)
    layout = plan.layout
    assert layout == SoftLayout((151655,), (Run(151655, 50, True),), grid=(1, 10, 20))
    assert layout.positions == plan.tokens == 50


def test_a_checkpoint_is_read_like_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import AutoProcessor

    write_checkpoint(tmp_path, tokenizer=True)
    geometry, processor = load_geometry(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    text, picture = f"<|vision_start|>{processor.image_token}<|vision_end|>", Image.new("RGB", (150, 90))
    for detail in (Detail.HIGH, Detail.LOW):
        layout = geometry.plan(150, 90, detail).layout
        given = processor(text=text, images=[picture], **geometry.processor_options(detail))
        (ids,) = given["input_ids"]
        assert [run.token for run in layout.runs for _ in range(run.count)] == list(ids)[1:-1]
        assert given["image_grid_thw"].tolist() == [list(layout.grid or ())]
    assert list(layout.target) == processor.tokenizer(processor.image_token)["input_ids"]
    assert geometry.processor_options("high") == {}
    # 64 cells, or a strip of them: 200 times as long as it is wide
    assert geometry.max_tokens == isqrt(200 * 64)
