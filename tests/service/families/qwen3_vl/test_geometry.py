"""Qwen3-VL's files as the hub has them, and plans that are transformers' own for every size, to the pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from service.decode.tiling import cut
from service.domain import Detail, Run, SoftLayout
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.base import FamilyFacts
from service.families.native.geometry import NativeGeometry
from service.families.qwen3_vl.files import SIZES, read_levels, vision_sizes
from service.families.qwen3_vl.geometry import read_geometry
from tests.service.families.qwen3_vl.hub import CONFIG, PROCESSOR, VISION

Write = Callable[..., Path]
CELL = 32
HUB = NativeGeometry(
    facts=FamilyFacts(
        family="", architecture="", placeholders=(), fingerprint="", max_ratio=200, independent_tiles=False
    ),
    patch=16,
    merge=2,
    min_pixels=PROCESSOR["size"]["shortest_edge"],
    max_pixels=PROCESSOR["size"]["longest_edge"],
    image_token=7,
)


@st.composite
def sizes(draw: st.DrawFn, longest: int = 6000) -> tuple[int, int]:
    """(width, height) that are admitted: lines of one pixel, tiny ones and huge ones as often as others."""
    short = draw(st.integers(1, 40) | st.integers(1, longest))
    long = draw(st.integers(short, 3 * short) | st.integers(short, 200 * short))
    return (long, short) if draw(st.booleans()) else (short, long)


@example((1, 1))
@example((1, 200))
@example((200, 1))
@example((60_000, 40_000))
@given(sizes())
def test_a_plan_has_transformers_patches(size: tuple[int, int]) -> None:
    from transformers import Qwen2VLImageProcessor

    plan = HUB.plan(*size, Detail.HIGH)
    (view,) = plan.views
    theirs = Qwen2VLImageProcessor(**PROCESSOR).get_number_of_image_patches(size[1], size[0])
    assert plan.patches == theirs
    assert plan.tokens == plan.tiles == plan.patches // 4
    assert (view.tile_width, view.tile_height) == (CELL, CELL)
    assert plan.layout.grid == (1, view.height // 16, view.width // 16)


@example((640, 480), Detail.LOW)
@example((1, 173), Detail.HIGH)
@given(sizes(longest=300), st.sampled_from([Detail.LOW, Detail.HIGH]))
def test_cells_are_transformers_patches_to_the_pixel(size: tuple[int, int], detail: Detail) -> None:
    from transformers import Qwen2VLImageProcessor

    width, height = size
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    geometry = HUB.limited(100)
    plan = geometry.plan(width, height, detail)
    (cells,) = cut(torch.from_numpy(pixels), plan.views)
    # [cells, 32, 32, 3] → [cells, 2 × 2, 3, 16, 16], and each patch is of two equal frames
    patches = cells.reshape(-1, 2, 16, 2, 16, 3).permute(0, 1, 3, 5, 2, 4).reshape(-1, 3, 1, 16, 16)
    processor = Qwen2VLImageProcessor(**PROCESSOR)
    seen = processor(
        Image.fromarray(pixels),
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
        **geometry.processor_options(detail),
    )
    assert torch.equal(patches.expand(-1, -1, 2, -1, -1).reshape(len(patches), -1), seen["pixel_values"])
    assert plan.layout.grid == tuple(seen["image_grid_thw"][0].tolist())


def test_what_the_hubs_files_say(write: Write) -> None:
    geometry = load_geometry(write())
    assert isinstance(geometry, NativeGeometry)
    assert (geometry.cell, geometry.min_pixels, geometry.max_pixels) == (CELL, 65536, 16777216)
    assert geometry.max_tokens == 16384
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("qwen3_vl", "Qwen3VLForConditionalGeneration")
    assert (facts.row_widths, facts.engine_tower) == (4, "loaded")
    assert {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>"} <= set(facts.placeholders)
    assert geometry.plan(320, 160, Detail.HIGH).layout == SoftLayout(
        (151655,), (Run(151655, 12 * 6, True),), grid=(1, 12, 24)
    )


def test_a_checkpoint_with_experts_is_of_the_same_family(write: Write) -> None:
    moe = CONFIG | {"model_type": "qwen3_vl_moe", "architectures": ["Qwen3VLMoeForConditionalGeneration"]}
    facts = load_geometry(write(config=moe)).facts
    assert (facts.family, facts.architecture) == ("qwen3_vl", "Qwen3VLMoeForConditionalGeneration")


def test_without_levels_soft_tokens_are_of_one_width_and_the_engine_needs_no_tower(write: Write) -> None:
    vision = VISION | {"deepstack_visual_indexes": []}
    facts = load_geometry(write(config=CONFIG | {"vision_config": vision})).facts
    assert (facts.row_widths, facts.engine_tower) == (1, "absent")


def test_other_levels_have_keys_of_their_own(write: Write) -> None:
    hub = load_geometry(write()).facts.fingerprint
    vision = VISION | {"deepstack_visual_indexes": [7, 16, 24]}
    assert hub != load_geometry(write(config=CONFIG | {"vision_config": vision})).facts.fingerprint


def test_what_config_leaves_out_is_transformers(write: Write) -> None:
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig

    theirs = Qwen3VLVisionConfig()
    assert {name: getattr(theirs, name) for name in SIZES} == SIZES
    assert vision_sizes({"depth": 3}) == SIZES | {"depth": 3}
    folder = write(config=CONFIG | {"vision_config": {}})
    assert list(read_levels(folder)) == list(theirs.deepstack_visual_indexes)
    assert read_geometry(folder).patch == theirs.patch_size


def test_the_plan_counts_wide_rows(write: Write) -> None:
    folder = write()
    save_file({}, folder / "model.safetensors")
    checkpoint = load_checkpoint(str(folder))
    assert (checkpoint.hidden_size, checkpoint.vision_hidden, checkpoint.dtype) == (4096, 1152, "bfloat16")


@pytest.mark.parametrize(
    "vision",
    [
        {"deepstack_visual_indexes": [16, 8]},
        {"deepstack_visual_indexes": [8, 8]},
        {"deepstack_visual_indexes": [27]},
        {"deepstack_visual_indexes": [-1]},
        {"deepstack_visual_indexes": 8},
        {"deepstack_visual_indexes": ["8"]},
        {"depth": "many"},
    ],
)
def test_levels_that_cannot_be_are_refused(write: Write, vision: dict[str, Any]) -> None:
    folder = write(config=CONFIG | {"vision_config": VISION | vision})
    with pytest.raises(
        ConfigurationError, match="deepstack_visual_indexes .* and depth .* in ascending order"
    ):
        load_geometry(folder)
