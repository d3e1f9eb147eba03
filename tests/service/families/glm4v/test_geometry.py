"""The plan must be transformers' own for every size, to the pixel; and what files must say."""

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

from service.decode.tiling import cut
from service.domain import Detail, Run, SoftLayout
from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.base import FamilyFacts
from service.families.glm4v.geometry import Glm4vGeometry, vision_sizes
from service.families.registry import family_of
from tests.service.families.glm4v.hub import CONFIG, PROCESSOR, TOKENIZER, VISION
from tests.service.tiny_glm4v import write_checkpoint

Write = Callable[..., Path]


def made(fewest: int = 6272, most: int = 5_880_000) -> Glm4vGeometry:
    facts = FamilyFacts(
        family="glm4v",
        architecture="",
        placeholders=(),
        fingerprint="",
        max_ratio=200,
        independent_tiles=False,
    )
    return Glm4vGeometry(facts, 14, 2, fewest, most, 7)


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    """(width, height) that are admitted, narrow and small ones as often as others."""
    short = draw(st.integers(1, 60) | st.integers(1, 5000))
    long = draw(st.integers(short, 3 * short) | st.integers(short, 200 * short) | st.just(200 * short))
    return (long, short) if draw(st.booleans()) else (short, long)


@st.composite
def geometries(draw: st.DrawFn) -> Glm4vGeometry:
    most = draw(st.integers(1, 2_000_000) | st.integers(1, 400).map(lambda cells: cells * 28**2))
    return made(draw(st.integers(1, min(most, 10_000)) | st.integers(max(1, most - 800), most)), most)


def patches(options: Any, width: int, height: int, geometry: Glm4vGeometry) -> int:
    from transformers import Glm4vImageProcessor

    bounds = {"shortest_edge": 2 * geometry.min_pixels, "longest_edge": 2 * geometry.max_pixels}
    given = options.get("size", bounds)
    return int(Glm4vImageProcessor().get_number_of_image_patches(height, width, {"size": given}))


@example((200, 1), made())
@example((27, 5400), made())
@given(sizes(), geometries())
def test_a_plan_has_transformers_patches(size: tuple[int, int], geometry: Glm4vGeometry) -> None:
    plan = geometry.plan(*size, Detail.HIGH)
    (view,) = plan.views
    assert plan.patches == patches({}, *size, geometry)
    assert plan.tokens == plan.tiles == plan.patches // 4 and plan.detail == "high"
    assert plan.layout.grid == (1, view.height // 14, view.width // 14)


@given(sizes(), geometries(), st.integers(1, 8000) | st.integers(1, 300))
def test_levels_and_limits_are_those_that_the_processor_can_apply(
    size: tuple[int, int], geometry: Glm4vGeometry, most: int
) -> None:
    limited = geometry.limited(most)
    assert limited.max_tokens <= most
    assert isinstance(limited, Glm4vGeometry)
    for detail in Detail:
        assert geometry.plan(*size, detail).tokens <= geometry.max_tokens
        plan = limited.plan(*size, detail)
        assert plan.tokens <= most
        options = limited.processor_options("low" if detail is Detail.LOW else "high")
        assert plan.patches == patches(options, *size, geometry)


@given(sizes(), geometries(), st.integers(1, 8000))
def test_auto_stays_within_its_tiles(size: tuple[int, int], geometry: Glm4vGeometry, most: int) -> None:
    auto = geometry.plan(*size, Detail.AUTO, most)
    assert 1 <= auto.tiles <= most
    assert geometry.plan(*size, Detail.AUTO, most + 1).tokens >= auto.tokens
    high = geometry.plan(*size, Detail.HIGH)
    if high.tiles <= most:
        assert auto.views == high.views


def test_what_the_hubs_files_say(write: Write) -> None:
    geometry = load_geometry(write())
    assert isinstance(geometry, Glm4vGeometry)
    assert (geometry.cell, geometry.min_pixels, geometry.max_pixels) == (28, 6272, 4816896)
    assert geometry.max_tokens == 6144 and geometry.image_token == 151343
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("glm4v", "Glm4vForConditionalGeneration")
    assert facts.placeholders == (
        "<|begin_of_image|>",
        "<|end_of_image|>",
        "<|image|>",
        "<|begin_of_video|>",
        "<|end_of_video|>",
        "<|video|>",
    )
    assert geometry.plan(280, 140, Detail.HIGH).layout == SoftLayout(
        (151343,), (Run(151343, 50, True),), grid=(1, 10, 20)
    )
    assert geometry.plan(4000, 3000, Detail.LOW).tokens == 21 * 15
    assert geometry.processor_options("low") == {
        "size": {"shortest_edge": 12544, "longest_edge": 2 * 512 * 512}
    }
    assert geometry.processor_options("high") == {}


def test_a_checkpoint_with_experts_is_of_the_same_family(write: Write) -> None:
    moe = CONFIG | {"model_type": "glm4v_moe", "architectures": ["Glm4vMoeForConditionalGeneration"]}
    geometry = load_geometry(
        write(config=moe, preprocessor_config=PROCESSOR | {"image_processor_type": "Glm46VImageProcessor"})
    )
    assert isinstance(geometry, Glm4vGeometry)
    assert geometry.facts.architecture == "Glm4vMoeForConditionalGeneration"


def test_bounds_that_nobody_names_are_transformers(write: Write) -> None:
    from transformers import Glm4vImageProcessor
    from transformers.models.glm46v.image_processing_glm46v import Glm46VImageProcessor

    silent = {name: value for name, value in PROCESSOR.items() if name != "size"}
    geometry = load_geometry(write(preprocessor_config=silent))
    assert isinstance(geometry, Glm4vGeometry)
    bounds = (2 * geometry.min_pixels, 2 * geometry.max_pixels)
    for processor in (Glm4vImageProcessor(), Glm46VImageProcessor()):
        assert (processor.size["shortest_edge"], processor.size["longest_edge"]) == bounds


def test_the_plan_reads_the_width_inside_the_blocks(write: Write) -> None:
    assert family_of(write()).vision_sizes(VISION)["intermediate_size"] == 4096
    assert vision_sizes({})["intermediate_size"] == 4096


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        (
            {"preprocessor_config": PROCESSOR | {"size": {"shortest_edge": 9, "longest_edge": 900}}},
            "odd bound, 9",
        ),
        ({"preprocessor_config": PROCESSOR | {"merge_size": 4}}, "merge_size 4 and vision_config"),
        ({"config": CONFIG | {"image_token_id": 9}}, "image_token_id 9 and tokenizer.json"),
        ({"tokenizer": TOKENIZER | {"added_tokens": []}}, r"no token '<\|image\|>' \(image_token\)"),
    ],
)
def test_files_that_disagree_are_named(write: Write, replaced: dict[str, Any], words: str) -> None:
    folder = write(**replaced)
    with pytest.raises(ConfigurationError, match=words):
        load_geometry(folder)


@pytest.mark.parametrize(
    ("width", "height", "detail"),
    [
        (640, 480, Detail.HIGH),
        (3001, 2003, Detail.HIGH),
        (1920, 1080, Detail.LOW),
        (84, 112, Detail.HIGH),  # as it is
        (17, 9, Detail.HIGH),  # enlarged twice
        (1500, 10, Detail.HIGH),
    ],
)
def test_cells_are_transformers_patches_to_the_pixel(
    write: Write, width: int, height: int, detail: Detail
) -> None:
    from transformers import Glm4vImageProcessor

    geometry = load_geometry(write())
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    (cells,) = cut(torch.from_numpy(pixels), geometry.plan(width, height, detail).views)
    # [cells, 28, 28, 3] → [cells, 2 × 2, 3, 14, 14], and each patch is of two equal frames
    ours = cells.reshape(-1, 2, 14, 2, 14, 3).permute(0, 1, 3, 5, 2, 4).reshape(-1, 3, 1, 14, 14)
    seen = Glm4vImageProcessor(**PROCESSOR)(
        Image.fromarray(pixels),
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
        **geometry.processor_options(detail),
    )
    assert torch.equal(ours.expand(-1, -1, 2, -1, -1).reshape(len(ours), -1), seen["pixel_values"])
    assert geometry.plan(width, height, detail).layout.grid == tuple(seen["image_grid_thw"][0].tolist())


def test_a_checkpoint_is_read_like_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import AutoProcessor

    write_checkpoint(tmp_path)
    geometry, processor = load_geometry(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    layout = geometry.plan(150, 90, Detail.HIGH).layout
    given = processor(text=f"a{processor.image_token}b", images=[Image.new("RGB", (150, 90))])
    (ids,) = given["input_ids"]
    assert [run.token for run in layout.runs for _ in range(run.count)] == list(ids)[1:-1]
    assert given["image_grid_thw"].tolist() == [list(layout.grid or ())]
    assert list(layout.target) == processor.tokenizer(processor.image_token)["input_ids"]
