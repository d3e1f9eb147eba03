"""Sizes against transformers' own processor, levels of detail, limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.decode.tiling import cut
from service.domain import Detail, Run, SoftLayout
from service.errors import ConfigurationError
from service.families import FamilyFacts, load_geometry
from service.families.gemma4.files import BUDGETS
from service.families.gemma4.geometry import Gemma4Geometry
from service.families.gemma4.resize import fill_budget
from tests.service.families.gemma4.hub import IMAGES
from tests.service.tiny_gemma4 import write_checkpoint

Write = Callable[..., Path]
SIDES = st.integers(1, 20_000)
budgets = st.sampled_from(BUDGETS)


def made(budget: int = 280) -> Gemma4Geometry:
    facts = FamilyFacts(family="gemma4", architecture="a", placeholders=(), fingerprint="f")
    return Gemma4Geometry(facts, 16, 3, budget, budget, 280, 10, 11, 12)


@given(SIDES, SIDES, budgets)
def test_sizes_are_transformers(width: int, height: int, budget: int) -> None:
    from transformers.models.gemma4.image_processing_gemma4 import get_aspect_ratio_preserving_size

    theirs = get_aspect_ratio_preserving_size(height, width, 16, 9 * budget, 3)
    assert fill_budget(width, height, 48, budget) == theirs[::-1]


@given(SIDES, SIDES, budgets)
def test_a_plan_is_whole_cells_within_its_budget(width: int, height: int, budget: int) -> None:
    geometry = made(budget)
    for detail, most in ((Detail.HIGH, budget), (Detail.LOW, 70)):
        plan = geometry.plan(width, height, detail)
        (view,) = plan.views
        assert (view.width % 48, view.height % 48) == (0, 0)
        assert 1 <= plan.tokens == view.tiles == plan.tower_rows <= most
        assert plan.patches == 9 * view.tiles
        assert plan.layout.positions == plan.tokens + 2
        assert plan.detail == detail


@given(SIDES, SIDES, budgets, st.integers(1, 1200))
def test_auto_fits_and_more_room_is_never_less(width: int, height: int, budget: int, most: int) -> None:
    geometry, size = made(budget), (width, height)
    auto = geometry.plan(*size, Detail.AUTO, most)
    low, high = (geometry.plan(*size, detail) for detail in (Detail.LOW, Detail.HIGH))
    assert 1 <= auto.tiles <= most
    if high.tiles <= most:
        assert auto.views == high.views
    assert auto.detail == ("low" if auto.tokens <= low.tokens else "high")
    assert geometry.plan(*size, Detail.AUTO).views == high.views
    assert geometry.plan(*size, Detail.AUTO, most + 1).tokens >= auto.tokens


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_largest_image_fills_its_budget(budget: int) -> None:
    geometry = made(budget)
    (view,) = geometry.largest.views
    assert geometry.largest.tokens == geometry.max_tokens == budget
    assert geometry.plan(view.width, view.height, Detail.HIGH) == geometry.largest


def test_levels_of_detail(write: Write) -> None:
    geometry = load_geometry(write())
    low, high = geometry.plan(640, 480, Detail.LOW), geometry.plan(640, 480, Detail.HIGH)
    assert (low.detail, low.tokens, low.views[0].width, low.views[0].height) == ("low", 9 * 7, 432, 336)
    assert (high.detail, high.tokens, high.views[0].width, high.views[0].height) == (
        "high",
        19 * 14,
        912,
        672,
    )
    # a budget between them, and one that no budget is
    assert geometry.plan(640, 480, Detail.AUTO, 200).tokens == 13 * 10
    assert geometry.plan(640, 480, Detail.AUTO, 40).tokens == 7 * 5
    # high is the client's word
    assert geometry.plan(640, 480, Detail.HIGH, max_tiles=5) == high


def test_the_layout_stands_between_two_tokens(write: Write) -> None:
    layout = load_geometry(write()).plan(300, 1, Detail.LOW).layout
    assert layout == SoftLayout(
        (258880,), (Run(255999, 1, False), Run(258880, 70, True), Run(258882, 1, False))
    )


def test_limits_are_the_towers_budgets() -> None:
    geometry = made(560)
    assert geometry.limited(560) is geometry and geometry.limited(9999) is geometry
    assert geometry.limited(559).max_tokens == 280
    assert geometry.limited(70).max_tokens == 70
    with pytest.raises(ConfigurationError, match=r"max_image_tokens \(69\) is less than 70, the smallest"):
        geometry.limited(69)


def test_options_name_a_budget_only_where_the_engine_would_take_another() -> None:
    geometry = made(280)
    assert geometry.processor_options("high") == {}
    assert geometry.processor_options("low") == {"max_soft_tokens": 70}
    assert geometry.limited(150).processor_options("high") == {"max_soft_tokens": 140}
    assert made(560).processor_options("high") == {"max_soft_tokens": 560}
    assert replace(made(70), engine_budget=70).processor_options("low") == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0, 5, Detail.HIGH), "at least one pixel"), ((5, 5, Detail.AUTO, 0), "max_tiles is at least 1")],
)
def test_sizes_that_cannot_be_planned_are_errors(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        made().plan(*arguments)


@pytest.mark.parametrize(
    ("width", "height", "detail"),
    [
        (640, 480, Detail.HIGH),
        (1920, 1080, Detail.LOW),
        (17, 9, Detail.HIGH),  # enlarged
        (960, 672, Detail.HIGH),  # as it is
        (3, 2000, Detail.HIGH),
        (1, 1, Detail.LOW),
    ],
)
def test_cells_are_transformers_patches_to_the_pixel(
    write: Write, width: int, height: int, detail: Detail
) -> None:
    from transformers import Gemma4ImageProcessor

    geometry = load_geometry(write())
    assert isinstance(geometry, Gemma4Geometry)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    plan = geometry.plan(width, height, detail)
    (cells,) = cut(torch.from_numpy(pixels), plan.views)  # [cells, side, side, 3]
    (view,) = plan.views
    whole = cells.view(view.rows, view.columns, 48, 48, 3).transpose(1, 2).reshape(view.height, view.width, 3)
    patches = whole.view(view.height // 16, 16, view.width // 16, 16, 3).transpose(1, 2).reshape(-1, 768)
    seen = Gemma4ImageProcessor(**IMAGES)(
        Image.fromarray(pixels),
        do_rescale=False,
        return_tensors="pt",
        **geometry.processor_options(str(detail)),
    )
    real = (seen["image_position_ids"][0] >= 0).all(-1)
    assert torch.equal(patches.float(), seen["pixel_values"][0, real].float())
    assert seen["num_soft_tokens_per_image"].tolist() == [plan.tokens]


def test_a_checkpoint_is_read_like_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import AutoProcessor

    write_checkpoint(tmp_path)
    geometry, processor = load_geometry(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    layout = geometry.plan(150, 90, Detail.HIGH).layout
    (ids,) = processor(text=f"a{processor.image_token}b", images=[Image.new("RGB", (150, 90))])["input_ids"]
    ours = [run.token for run in layout.runs for _ in range(run.count)]
    assert ours == list(ids)[1:-1]
    assert list(layout.target) == processor.tokenizer(processor.image_token)["input_ids"]
