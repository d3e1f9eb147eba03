"""The plan must be transformers' own for every size, to the pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from service.decode.tiling import cut
from service.domain import Detail, Run, SoftLayout
from service.errors import InvalidRequest
from service.families import load_geometry
from service.families.base import FamilyFacts
from service.families.pixtral.geometry import PixtralGeometry
from tests.service.families.pixtral.hub import LLAVA_PROCESSOR, PROCESSOR
from tests.service.tiny_pixtral import write_checkpoint

Write = Callable[..., Path]


def made(edge: int = 1540, patch: int = 14, merge: int = 2) -> PixtralGeometry:
    facts = FamilyFacts(
        family="pixtral",
        architecture="",
        placeholders=(),
        fingerprint="",
        max_ratio=min(200, edge),
        independent_tiles=False,
    )
    return PixtralGeometry(facts, patch, merge, edge, edge, None, 7, 8, 9)


@st.composite
def geometries(draw: st.DrawFn) -> PixtralGeometry:
    edge = draw(st.integers(1, 400) | st.integers(1, 1600) | st.sampled_from([1024, 1540]))
    return made(edge, draw(st.sampled_from([14, 16])), draw(st.sampled_from([1, 2, 3])))


@st.composite
def cases(draw: st.DrawFn) -> tuple[PixtralGeometry, tuple[int, int]]:
    """A geometry, and a (width, height) that it admits, narrow ones as often as others."""
    geometry = draw(geometries())
    most = int(geometry.facts.max_ratio)
    short = draw(st.integers(1, 60) | st.integers(1, 5000))
    long = draw(
        st.integers(short, min(3, most) * short) | st.integers(short, most * short) | st.just(most * short)
    )
    return geometry, (long, short) if draw(st.booleans()) else (short, long)


def theirs_for(width: int, height: int, edge: int, cell: int) -> tuple[int, int]:
    """(height, width) as the processor has it."""
    from transformers.models.pixtral.image_processing_pixtral import get_resize_output_image_size

    pixels = np.broadcast_to(np.uint8(0), (height, width, 3))
    found: tuple[int, int] = get_resize_output_image_size(pixels, edge, cell, "channels_last")
    return found


def lines(layout: SoftLayout) -> list[int]:
    return [run.token for run in layout.runs for _ in range(run.count)]


@example((made(), (1000, 1600)))
@example((made(200), (200, 1)))
@given(cases())
def test_a_plan_has_transformers_cells_and_lines(case: tuple[PixtralGeometry, tuple[int, int]]) -> None:
    geometry, (width, height) = case
    plan = geometry.plan(width, height, Detail.HIGH)
    (view,) = plan.views
    theirs = theirs_for(width, height, geometry.edge, geometry.cell)
    assert (view.height, view.width) == theirs
    assert (view.tile_width, view.tile_height) == (geometry.cell, geometry.cell)
    assert plan.tokens == plan.tiles == view.columns * view.rows and plan.detail == "high"
    assert plan.patches == plan.tokens * geometry.merge**2
    expected = ([7] * view.columns + [8]) * view.rows
    assert lines(plan.layout) == [*expected[:-1], 9]
    assert all(run.embeds == (run.token == 7) for run in plan.layout.runs)


@given(cases())
def test_no_image_costs_more_than_the_largest(case: tuple[PixtralGeometry, tuple[int, int]]) -> None:
    geometry, size = case
    largest = geometry.largest
    for detail in Detail:
        plan = geometry.plan(*size, detail)
        assert 1 <= plan.tokens <= geometry.max_tokens == largest.tokens
        assert plan.patches <= largest.patches and plan.layout.positions <= largest.layout.positions
    assert geometry.plan(*size, Detail.LOW).tokens <= geometry.plan(*size, Detail.HIGH).tokens
    (view,) = largest.views
    # rounding down may cost a pixel, and that a line and a column of cells
    assert (
        (view.columns - 1) ** 2
        <= geometry.plan(view.width, view.height, Detail.HIGH).tokens
        <= geometry.max_tokens
    )


@given(cases(), st.integers(1, 4000) | st.integers(1, 300))
def test_no_image_passes_the_operators_limit(
    case: tuple[PixtralGeometry, tuple[int, int]], most: int
) -> None:
    geometry, (width, height) = case
    limited = geometry.limited(most)
    assert most / 4 <= limited.max_tokens <= most or limited is geometry
    if max(width, height) > limited.facts.max_ratio * min(width, height):
        return
    for detail in Detail:
        plan = limited.plan(width, height, detail)
        assert plan.tokens <= most
        options: Any = limited.processor_options("low" if detail is Detail.LOW else "high")
        edge = options.get("size", {"longest_edge": geometry.edge})["longest_edge"]
        theirs = theirs_for(width, height, edge, geometry.cell)
        assert (plan.views[0].height, plan.views[0].width) == theirs


@example((made(), (3559, 3559)), 225)
@given(cases(), st.integers(1, 4000) | st.integers(1, 300))
def test_auto_stays_within_its_tiles_and_is_high_where_that_fits(
    case: tuple[PixtralGeometry, tuple[int, int]], most: int
) -> None:
    geometry, size = case
    auto = geometry.plan(*size, Detail.AUTO, most)
    low, high = (geometry.plan(*size, detail) for detail in (Detail.LOW, Detail.HIGH))
    assert 1 <= auto.tiles <= most
    if high.tiles <= most:
        assert auto.views == high.views
    assert auto.detail == ("low" if auto.tokens <= low.tokens else "high")
    assert geometry.plan(*size, Detail.AUTO).views == high.views
    more = geometry.plan(*size, Detail.AUTO, most + 1)
    assert more.tokens >= auto.tokens and more.layout.positions >= auto.layout.positions


@given(st.integers(300, 6000), st.integers(300, 6000), st.integers(200, 3000))
def test_auto_uses_most_of_its_tiles_and_keeps_the_shape(width: int, height: int, most: int) -> None:
    geometry = made()
    auto, high = geometry.plan(width, height, Detail.AUTO, most), geometry.plan(width, height, Detail.HIGH)
    if high.tiles <= most:
        return
    (view,) = auto.views
    # another line or column of cells would not have fitted
    assert (view.columns + 1) * (view.rows + 1) > most
    scale = max(width, height) / max(view.width, view.height)
    assert abs(width / scale - view.width) <= 28 and abs(height / scale - view.height) <= 28


def test_levels_of_detail(write: Write) -> None:
    geometry = load_geometry(write())
    low, high = geometry.plan(4000, 3000, Detail.LOW), geometry.plan(4000, 3000, Detail.HIGH)
    assert (low.detail, low.tokens, low.layout.positions) == ("low", 19 * 14, 20 * 14)
    assert (high.detail, high.tokens) == ("high", 55 * 42)
    # of a small image both are the same
    small = geometry.plan(200, 100, Detail.HIGH)
    assert small.detail == "high" and geometry.plan(200, 100, Detail.AUTO).detail == "low"
    assert geometry.plan(200, 100, Detail.LOW).views == small.views
    # high is the client's word
    assert geometry.plan(4000, 3000, Detail.HIGH, max_tiles=5) == high


def test_the_layout_alternates(write: Write) -> None:
    layout = load_geometry(write()).plan(84, 56, Detail.HIGH).layout
    assert layout == SoftLayout(
        (10,), (Run(10, 3, True), Run(12, 1, False), Run(10, 3, True), Run(13, 1, False))
    )
    assert (layout.tokens, layout.positions) == (6, 8)


def test_options_name_an_edge_only_where_it_is_another(write: Write) -> None:
    geometry = load_geometry(write())
    assert geometry.processor_options("high") == {}
    assert geometry.processor_options("low") == {"size": {"longest_edge": 512}}
    limited = geometry.limited(100)
    assert limited.max_tokens == 100 and limited.facts.max_ratio == 200
    assert limited.processor_options("high") == limited.processor_options("low")
    assert limited.processor_options("low") == {"size": {"longest_edge": 280}}
    assert geometry.limited(5).facts.max_ratio == 56
    assert geometry.limited(55 * 55) is geometry


def test_vllms_llava_cannot_apply_another_edge(write_llava: Write) -> None:
    geometry = load_geometry(write_llava())
    assert geometry.processor_options("high") == {}
    with pytest.raises(InvalidRequest, match="to 512 pixels at most, .* to 1024, .*ask for detail: high"):
        geometry.processor_options("low")
    with pytest.raises(InvalidRequest, match="to 160 pixels .* leave max_image_tokens unset"):
        geometry.limited(100).processor_options("high")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 5, Detail.HIGH), "at least one pixel"),
        ((5, 5, Detail.AUTO, 0), "max_tiles is at least 1"),
        ((2001, 10, Detail.LOW), "at most 200 times the shorter one, not 2001 × 10"),
    ],
)
def test_sizes_that_cannot_be_planned_are_errors(
    write: Write, arguments: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        load_geometry(write()).plan(*arguments)


@pytest.mark.parametrize("merges", [True, False], ids=["mistral3", "pixtral"])
@pytest.mark.parametrize(
    ("width", "height", "detail"),
    [
        (640, 480, Detail.HIGH),
        (1920, 1080, Detail.HIGH),  # shrunk
        (1080, 1920, Detail.LOW),
        (112, 224, Detail.HIGH),  # as it is
        (17, 9, Detail.HIGH),
        (2000, 10, Detail.HIGH),
    ],
)
def test_cells_are_transformers_patches_to_the_pixel(
    write: Write, write_llava: Write, merges: bool, width: int, height: int, detail: Detail
) -> None:
    from transformers import PixtralImageProcessor

    geometry = load_geometry(write() if merges else write_llava())
    assert isinstance(geometry, PixtralGeometry)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    plan = geometry.plan(width, height, detail)
    (cells,) = cut(torch.from_numpy(pixels), plan.views)  # [cells, side, side, 3]
    (view,) = plan.views
    whole = cells.view(view.rows, view.columns, geometry.cell, geometry.cell, 3).permute(4, 0, 2, 1, 3)
    seen = PixtralImageProcessor(**(PROCESSOR if merges else LLAVA_PROCESSOR))(
        Image.fromarray(pixels),
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
        patch_size=geometry.cell,
        **replace(geometry, fixed_edge=None).processor_options(detail),
    )
    assert torch.equal(whole.reshape(3, view.height, view.width), seen["pixel_values"][0])
    assert seen["image_sizes"].tolist() == [[view.height, view.width]]


@pytest.mark.parametrize("merges", [True, False], ids=["mistral3", "pixtral"])
def test_a_checkpoint_is_read_like_transformers_reads_it(tmp_path: Path, merges: bool) -> None:
    from transformers import AutoProcessor

    write_checkpoint(tmp_path, merges=merges)
    geometry, processor = load_geometry(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    text, picture = f"a{processor.image_token}b", Image.new("RGB", (150, 90))
    layout = geometry.plan(150, 90, Detail.HIGH).layout
    (ids,) = processor(text=text, images=[picture])["input_ids"]
    assert lines(layout) == list(ids)[1:-1]
    assert list(layout.target) == processor.tokenizer(processor.image_token)["input_ids"]
