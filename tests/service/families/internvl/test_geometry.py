"""The plan must be transformers' own for every size, and the files must agree with each other."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain import Detail, Run, SoftLayout, View
from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.base import FamilyFacts
from service.families.internvl.geometry import InternVLGeometry
from tests.service.families.checkpoints import write_files

DEMO = Path(__file__).parents[4] / "demo" / "model"

CONFIG: dict[str, Any] = {
    "architectures": ["InternVLForConditionalGeneration"],
    "model_type": "internvl",
    "downsample_ratio": 0.5,
    "image_seq_length": 256,
    "image_token_id": 7,
    "vision_config": {"image_size": [448, 448], "patch_size": [14, 14]},
}
PROCESSOR: dict[str, Any] = {
    "size": {"height": 448, "width": 448},
    "min_patches": 1,
    "max_patches": 12,
    "resample": 3,
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "rescale_factor": 0.00392156862745098,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {"a": 0, "<img>": 5}},
    "added_tokens": [
        {"id": 6, "content": "</img>"},
        {"id": 7, "content": "<IMG_CONTEXT>"},
        {"id": 8, "content": "<video>"},
    ],
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A checkpoint's files in one folder; a keyword replaces one, None leaves it out."""

    def files(**replaced: Any) -> Path:
        contents = {
            "config": CONFIG,
            "preprocessor_config": PROCESSOR,
            "processor_config": None,
            "tokenizer": TOKENIZER,
            "tokenizer_config": {},
        } | replaced
        return write_files(tmp_path, contents)

    return files


@pytest.fixture
def geometry(write: Write) -> InternVLGeometry:
    return InternVLGeometry.from_checkpoint(write())


def made(
    max_patches: int = 12, min_patches: int = 1, width: int = 448, height: int = 448
) -> InternVLGeometry:
    return InternVLGeometry(
        facts=FamilyFacts(family="internvl", architecture="", placeholders=("<img>",), fingerprint=""),
        tile_width=width,
        tile_height=height,
        patches_per_tile=1024,
        tokens_per_tile=256,
        min_patches=min_patches,
        max_patches=max_patches,
        start_token=5,
        context_token=7,
        end_token=6,
    )


SIDES = st.integers(1, 6000) | st.sampled_from([1, 2, 447, 448, 449, 896, 5000, 65_535])


@example(3, 2, 1, 1, (3, 2))  # equally near to two grids, and exactly half as large as the second
@example(150, 150, 1, 3, (100, 100))  # a little more than half as large as four tiles
@example(2000, 1000, 3, 1, (448, 448))  # equally near to a grid of three and one of four
@given(
    SIDES, SIDES, st.integers(1, 4), st.integers(0, 12), st.sampled_from([(448, 448), (112, 112), (384, 448)])
)
def test_a_plan_is_transformers_canvas(
    width: int, height: int, fewest: int, more: int, tile: tuple[int, int]
) -> None:
    from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

    geometry = made(fewest + more, fewest, *tile)
    plan = geometry.plan(width, height, Detail.HIGH)
    columns, rows = get_optimal_tiled_canvas((height, width), (tile[1], tile[0]), fewest, fewest + more)
    grid = View(columns * tile[0], rows * tile[1], *tile)
    assert plan.views == ((grid, View(*tile, *tile)) if columns * rows > 1 else (grid,))
    assert plan.tiles == columns * rows + (columns * rows > 1)
    assert (plan.tokens, plan.patches) == (256 * plan.tiles, 1024 * plan.tiles)
    assert plan.tokens <= geometry.max_tokens
    assert plan.detail == "high"


@given(SIDES, SIDES, st.integers(1, 3), st.integers(0, 12), st.integers(256, 5000))
def test_no_image_passes_the_operators_limit(
    width: int, height: int, fewest: int, more: int, limit: int
) -> None:
    from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

    geometry = made(fewest + more, fewest).limited(limit)
    assert geometry.max_tokens <= limit
    for detail in Detail:
        assert geometry.plan(width, height, detail).tokens <= limit
    options = {"min_patches": fewest, "max_patches": fewest + more, **geometry.processor_options("high")}
    columns, rows = get_optimal_tiled_canvas(
        (height, width), (448, 448), options["min_patches"], options["max_patches"]
    )
    plan = geometry.plan(width, height, Detail.HIGH)
    assert (plan.views[0].columns, plan.views[0].rows) == (columns, rows)


def test_a_limit_leaves_room_for_the_thumbnail_and_one_above_the_largest_changes_nothing() -> None:
    geometry = made(12)
    assert geometry.limited(13 * 256) is geometry
    assert [geometry.limited(256 * tiles).max_tiles for tiles in (1, 2, 3, 4, 12)] == [1, 1, 3, 4, 12]
    assert geometry.limited(13 * 256 - 1).max_tiles == 12
    with pytest.raises(ConfigurationError, match=r"max_image_tokens \(255\) is less than the 256 of one"):
        geometry.limited(255)


@given(SIDES, SIDES, st.integers(1, 30))
def test_auto_stays_within_its_tiles_and_says_what_it_became(width: int, height: int, most: int) -> None:
    geometry = made()
    plan = geometry.plan(width, height, Detail.AUTO, most)
    assert 1 <= plan.tiles <= most
    assert (plan.detail == "low") == (plan.tiles == 1)
    if plan.tiles > 1:
        assert plan.views[1] == View(448, 448, 448, 448)
    high = geometry.plan(width, height, Detail.HIGH)
    if high.tiles <= most and most > geometry.max_patches:
        assert plan.views == high.views


def test_auto_without_a_bound_is_high(geometry: InternVLGeometry) -> None:
    auto, high = (geometry.plan(1600, 900, detail) for detail in (Detail.AUTO, Detail.HIGH))
    assert auto == high and high.tiles > 5


def test_low_is_one_tile_and_a_bound_binds_auto_alone(geometry: InternVLGeometry) -> None:
    low = geometry.plan(4000, 1000, Detail.LOW, max_tiles=1)
    assert (low.detail, low.tiles, low.tokens, low.patches) == ("low", 1, 256, 1024)
    assert low.views == (View(448, 448, 448, 448),)
    assert geometry.plan(4000, 1000, Detail.HIGH, max_tiles=1) == geometry.plan(4000, 1000, Detail.HIGH)


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((1, 5000), (1, 12)),
        ((5000, 1), (12, 1)),
        ((1, 1), (1, 1)),
        ((448, 448), (1, 1)),
        ((896, 448), (2, 1)),
        ((23, 3), (8, 1)),
    ],
)
def test_extreme_shapes(geometry: InternVLGeometry, size: tuple[int, int], grid: tuple[int, int]) -> None:
    view = geometry.plan(*size, Detail.HIGH).views[0]
    assert (view.width // 448, view.height // 448) == grid


@pytest.mark.parametrize("arguments", [(0, 5), (5, 0), (-1, 5)])
def test_sizes_below_one_are_errors(geometry: InternVLGeometry, arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        geometry.plan(*arguments, Detail.HIGH)
    with pytest.raises(ValueError, match="max_tiles"):
        geometry.plan(5, 5, Detail.AUTO, 0)


def test_the_layout_is_the_processors_prompt(geometry: InternVLGeometry) -> None:
    plan = geometry.plan(896, 448, Detail.HIGH)
    layout = plan.layout
    assert layout == SoftLayout(target=(7,), runs=(Run(5, 1, False), Run(7, 768, True), Run(6, 1, False)))
    assert (layout.tokens, layout.positions, layout.grid) == (plan.tokens, plan.tokens + 2, None)


def test_what_a_checkpoint_says(geometry: InternVLGeometry) -> None:
    assert (
        geometry.facts.family == "internvl"
        and geometry.facts.architecture == "InternVLForConditionalGeneration"
    )
    assert (geometry.tokens_per_tile, geometry.patches_per_tile) == (256, 1024)
    assert (geometry.max_patches, geometry.max_tiles, geometry.max_tokens) == (12, 13, 13 * 256)
    assert geometry.facts.placeholders == ("<img>", "</img>", "<IMG_CONTEXT>", "<video>")
    assert geometry.facts.min_side == 1 and geometry.facts.max_ratio == inf
    assert made(max_patches=1).max_tokens == 256


@given(st.integers(1, 40))
def test_an_image_of_the_largest_size_takes_the_most_tokens(most: int) -> None:
    geometry = made(max_patches=most)
    view = geometry.largest.views[0]
    assert geometry.plan(view.width, view.height, Detail.HIGH) == geometry.largest
    assert geometry.largest.tokens == geometry.max_tokens


@pytest.mark.parametrize("old", [True, False], ids=["with-old-file", "alone"])
def test_the_file_of_transformers_5_wins(write: Write, old: bool) -> None:
    nested = {"image_seq_length": 256, "image_processor": PROCESSOR | {"max_patches": 6}}
    folder = write(processor_config=nested, preprocessor_config=PROCESSOR if old else None)
    assert InternVLGeometry.from_checkpoint(folder).max_patches == 6


def test_token_names_come_from_the_tokenizers_settings(write: Write) -> None:
    renamed = {
        "model": {"vocab": {}},
        "added_tokens": [
            {"id": 1, "content": "<s>"},
            {"id": 2, "content": "<e>"},
            {"id": 7, "content": "<c>"},
        ],
    }
    names = {
        "start_image_token": {"content": "<s>"},
        "extra_special_tokens": {"end_image_token": "<e>", "context_image_token": "<c>"},
    }
    geometry = InternVLGeometry.from_checkpoint(write(tokenizer=renamed, tokenizer_config=names))
    assert (geometry.start_token, geometry.end_token, geometry.context_token) == (1, 2, 7)
    assert geometry.facts.placeholders == ("<s>", "<e>", "<c>")


def test_the_fingerprint_follows_what_decides_pixels_and_rows(write: Write) -> None:
    def fingerprint(**replaced: Any) -> str:
        return InternVLGeometry.from_checkpoint(write(**replaced)).facts.fingerprint

    same = [fingerprint(), fingerprint(tokenizer_config=None)]
    assert same[0] == same[1]
    others = [
        fingerprint(preprocessor_config=PROCESSOR | {"max_patches": 6}),
        fingerprint(preprocessor_config=PROCESSOR | {"image_mean": [0.5, 0.5, 0.5]}),
        fingerprint(config=CONFIG | {"vision_config": CONFIG["vision_config"] | {"hidden_size": 9}}),
    ]
    assert len({same[0], *others}) == 4


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"config": None}, "has no config.json"),
        ({"config": "{"}, "config.json is not JSON"),
        ({"config": "[]"}, "no JSON object"),
        ({"config": {"model_type": "internvl"}}, "no vision_config"),
        ({"preprocessor_config": None}, "neither preprocessor_config.json nor an image_processor"),
        ({"preprocessor_config": PROCESSOR | {"resample": 2}}, "resample = 2; only 3"),
        ({"preprocessor_config": PROCESSOR | {"do_normalize": False}}, "do_normalize = False"),
        ({"preprocessor_config": PROCESSOR | {"rescale_factor": 0.5}}, "rescale_factor = 0.5"),
        (
            {"preprocessor_config": PROCESSOR | {"size": {"shortest_edge": 448}}},
            "needed are height and width",
        ),
        ({"preprocessor_config": PROCESSOR | {"size": {"height": 448, "width": 336}}}, "tiles of 336×448"),
        ({"preprocessor_config": PROCESSOR | {"max_patches": 0}}, "max_patches 0"),
        ({"preprocessor_config": PROCESSOR | {"min_patches": 13}}, "min_patches 13 and max_patches 12"),
        ({"preprocessor_config": PROCESSOR | {"max_patches": 10**9}}, "1024"),
        ({"config": CONFIG | {"downsample_ratio": 0.3}}, "downsample_ratio 0.3"),
        ({"config": CONFIG | {"downsample_ratio": 0}}, "downsample_ratio 0"),
        ({"config": CONFIG | {"downsample_ratio": 1 / 64}}, "divide evenly"),
        ({"config": CONFIG | {"image_seq_length": 64}}, "image_seq_length 64; its tiles give 256"),
        ({"processor_config": {"image_seq_length": 64}}, "processor_config.json has image_seq_length 64"),
        ({"config": CONFIG | {"image_token_id": 9}}, "image_token_id 9"),
        ({"tokenizer": None}, "has no tokenizer.json"),
        ({"tokenizer": {"model": {"vocab": {"<img>": 5, "</img>": 6}}}}, "no token '<IMG_CONTEXT>'"),
        ({"tokenizer": {}}, "no model"),
    ],
)
def test_files_that_are_missing_or_disagree_are_named(
    write: Write, replaced: dict[str, Any], words: str
) -> None:
    folder = write(**replaced)
    with pytest.raises(ConfigurationError, match=words):
        InternVLGeometry.from_checkpoint(folder)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CONFIG | {"model_type": "internvl_chat"}, "'internvl_chat'; supported are .*internvl, .*llava"),
        (CONFIG | {"model_type": ["internvl"]}, "supported are"),
        ({}, "None; supported are"),
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        (None, "has no config.json"),
    ],
)
def test_families_that_are_not_supported_are_refused(write: Write, config: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_geometry(write(config=config))


def test_the_embedded_model_is_read_like_transformers_reads_it() -> None:
    from transformers import AutoProcessor

    geometry, processor = load_geometry(DEMO), AutoProcessor.from_pretrained(DEMO)
    layout = geometry.plan(300, 200, Detail.HIGH).layout
    (ids,) = processor(text=processor.image_token, images=[_blank(300, 200)])["input_ids"]
    assert [run.token for run in layout.runs for _ in range(run.count)] == list(ids)
    assert (
        list(layout.target)
        == processor.tokenizer(processor.image_token, add_special_tokens=False)["input_ids"]
    )
    options = dict(geometry.processor_options("low"))
    (low,) = processor(text=processor.image_token, images=[_blank(300, 200)], **options)["input_ids"]
    assert len(low) == geometry.plan(300, 200, Detail.LOW).layout.positions
    assert geometry.processor_options("high") == {}


def _blank(width: int, height: int) -> Any:
    from PIL import Image

    return Image.new("RGB", (width, height))
