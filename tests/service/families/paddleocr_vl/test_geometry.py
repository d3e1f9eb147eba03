"""The plan must be transformers' own for every size, to the pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor, PaddleOCRVLImageProcessor

from service.decode.tiling import cut
from service.domain import Detail, Run, SoftLayout
from service.families import load_geometry
from service.families.base import FamilyFacts
from service.families.paddleocr_vl.geometry import PaddleOCRVLGeometry, enlarge
from tests.service.families.glm4v.test_geometry import sizes
from tests.service.families.paddleocr_vl.hub import PROCESSOR
from tests.service.tiny_paddleocr_vl import write_checkpoint

Write = Callable[..., Path]


def made(fewest: int = 147384, most: int = 2822400) -> PaddleOCRVLGeometry:
    facts = FamilyFacts(
        family="paddleocr_vl",
        architecture="",
        placeholders=(),
        fingerprint="",
        max_ratio=200,
        independent_tiles=False,
    )
    return PaddleOCRVLGeometry(facts, 14, 2, fewest, most, 7)


@st.composite
def geometries(draw: st.DrawFn) -> PaddleOCRVLGeometry:
    most = draw(st.integers(1, 2_000_000) | st.integers(1, 400).map(lambda cells: cells * 28**2))
    return made(draw(st.integers(1, min(most, 200_000)) | st.integers(max(1, most - 800), most)), most)


def patches(options: Mapping[str, Any], width: int, height: int, geometry: PaddleOCRVLGeometry) -> int:
    size = options.get("size", {"shortest_edge": geometry.min_pixels, "longest_edge": geometry.max_pixels})
    bounds = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    return int(PaddleOCRVLImageProcessor().get_number_of_image_patches(height, width, bounds))


@example((200, 1), made())
@example((27, 5400), made())
@example((17, 9), made())  # roundings of both steps count
@example((3, 110), made())
@given(sizes(), geometries())
def test_a_plan_has_transformers_patches(size: tuple[int, int], geometry: PaddleOCRVLGeometry) -> None:
    plan = geometry.plan(*size, Detail.HIGH)
    (view,) = plan.views
    assert plan.patches == patches({}, *size, geometry)
    assert plan.tokens == plan.tiles == plan.patches // 4 and plan.detail == "high"
    assert plan.layout.grid == (1, view.height // 14, view.width // 14)


@given(sizes(), geometries(), st.integers(1, 8000) | st.integers(1, 300))
def test_levels_and_limits_are_those_that_the_processor_can_apply(
    size: tuple[int, int], geometry: PaddleOCRVLGeometry, most: int
) -> None:
    limited = geometry.limited(most)
    assert limited.max_tokens <= most
    for detail in Detail:
        assert geometry.plan(*size, detail).tokens <= geometry.max_tokens
        plan = limited.plan(*size, detail)
        assert plan.tokens <= most
        options = limited.processor_options("low" if detail is Detail.LOW else "high")
        assert plan.patches == patches(options, *size, geometry)


@given(sizes(), geometries(), st.integers(1, 8000))
def test_auto_stays_within_its_tiles(size: tuple[int, int], geometry: PaddleOCRVLGeometry, most: int) -> None:
    auto = geometry.plan(*size, Detail.AUTO, most)
    assert 1 <= auto.tiles <= most
    assert geometry.plan(*size, Detail.AUTO, most + 1).tokens >= auto.tokens
    high = geometry.plan(*size, Detail.HIGH)
    if high.tiles <= most:
        assert auto.views == high.views


@given(sizes())
def test_enlarged_sides_keep_within_the_ratio(size: tuple[int, int]) -> None:
    short, long = sorted(enlarge(*size, 28))
    assert short >= 28 and long <= 200 * short


@pytest.mark.parametrize("size", [(201, 1), (5401, 27), (1, 201)])
def test_thinner_ones_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at most 200 times the shorter one"):
        made().plan(*size, Detail.HIGH)
    with pytest.raises(ValueError, match="must be smaller than 200"):
        patches({}, *size, made())


def test_levels(write: Write) -> None:
    geometry = load_geometry(write())
    assert geometry.plan(560, 420, Detail.HIGH).layout == SoftLayout(
        (100295,), (Run(100295, 300, True),), grid=(1, 30, 40)
    )
    assert geometry.plan(4000, 3000, Detail.LOW).tokens == 21 * 15
    assert geometry.processor_options("low") == {"size": {"shortest_edge": 147384, "longest_edge": 512 * 512}}
    assert geometry.processor_options("high") == {}


@pytest.mark.parametrize(
    ("width", "height", "detail"),
    [
        (640, 480, Detail.HIGH),
        (3001, 2003, Detail.HIGH),
        (1920, 1080, Detail.LOW),
        (560, 420, Detail.HIGH),  # as it is
        (17, 9, Detail.HIGH),  # enlarged twice
        (1500, 10, Detail.HIGH),
    ],
)
def test_cells_are_transformers_patches_to_the_pixel(
    write: Write, width: int, height: int, detail: Detail
) -> None:
    geometry = load_geometry(write())
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    plan = geometry.plan(width, height, detail)
    (cells,) = cut(torch.from_numpy(pixels), plan.views)
    (view,) = plan.views
    # cells row by row → patches of the whole image row by row: [patches, 3, 14, 14]
    ours = cells.reshape(view.rows, view.columns, 2, 14, 2, 14, 3).permute(0, 2, 1, 4, 6, 3, 5)
    seen = PaddleOCRVLImageProcessor(**PROCESSOR)(
        Image.fromarray(pixels),
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
        **geometry.processor_options(detail),
    )
    assert torch.equal(ours.reshape(-1, 3, 14, 14), seen["pixel_values"])
    assert plan.layout.grid == tuple(seen["image_grid_thw"][0].tolist())


def test_a_checkpoint_is_read_like_transformers_reads_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    geometry, processor = load_geometry(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    layout = geometry.plan(150, 90, Detail.HIGH).layout
    given = processor(text=f"a{processor.image_token}b", images=[Image.new("RGB", (150, 90))])
    (ids,) = given["input_ids"]
    assert [run.token for run in layout.runs for _ in range(run.count)] == list(ids)[1:-1]
    assert given["image_grid_thw"].tolist() == [list(layout.grid or ())]
    assert list(layout.target) == processor.tokenizer(processor.image_token)["input_ids"]
