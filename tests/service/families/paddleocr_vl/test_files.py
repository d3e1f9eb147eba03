"""What a checkpoint says of its geometry and of its language model, and files that disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PaddleOCRVLImageProcessor

from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.paddleocr_vl.geometry import PaddleOCRVLGeometry, read_geometry
from service.families.registry import family_of
from tests.service.families.paddleocr_vl.hub import CONFIG, PROCESSOR, TOKENIZER, VISION

Write = Callable[..., Path]
WITHOUT_BOUNDS = {name: value for name, value in PROCESSOR.items() if not name.endswith("_pixels")}


def test_what_the_hubs_files_say(write: Write) -> None:
    geometry = load_geometry(write())
    assert isinstance(geometry, PaddleOCRVLGeometry)
    assert (geometry.cell, geometry.min_pixels, geometry.max_pixels) == (28, 147384, 2822400)
    assert geometry.max_tokens == 3600 and geometry.image_token == 100295
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("paddleocr_vl", "PaddleOCRVLForConditionalGeneration")
    assert facts.placeholders == (
        "<|IMAGE_START|>",
        "<|IMAGE_END|>",
        "<|IMAGE_PLACEHOLDER|>",
        "<|image_pad|>",
        "<|video_pad|>",
    )
    assert (facts.max_ratio, facts.independent_tiles, facts.bidirectional_images) == (200, False, False)


@pytest.mark.parametrize(
    ("fields", "pixels"),
    [
        ({}, (384**2, 1536**2)),
        ({"size": {"shortest_edge": 784, "longest_edge": 78400}}, (784, 78400)),
        ({"size": {"shortest_edge": 784, "longest_edge": 78400}, "max_pixels": 7840}, (784, 7840)),
        ({"min_pixels": 784}, (784, 1536**2)),
        ({"size": {"min_pixels": 1, "max_pixels": 2}, "min_pixels": 784, "max_pixels": 7840}, (784, 7840)),
        ({"size": None, "min_pixels": None, "max_pixels": 784000}, (384**2, 784000)),
    ],
)
def test_bounds_are_read_as_transformers_reads_them(
    write: Write, fields: dict[str, Any], pixels: tuple[int, int]
) -> None:
    folder = write(preprocessor_config=WITHOUT_BOUNDS | fields)
    geometry = read_geometry(folder)
    assert (geometry.min_pixels, geometry.max_pixels) == pixels
    size = PaddleOCRVLImageProcessor.from_pretrained(folder).size
    assert (size["shortest_edge"], size["longest_edge"]) == pixels


def test_both_generations_of_config_are_read(write: Write) -> None:
    language = {name: value for name, value in CONFIG.items() if name not in ("vision_config", "model_type")}
    nested = {
        "architectures": CONFIG["architectures"],
        "model_type": "paddleocr_vl",
        "dtype": "bfloat16",
        "image_token_id": CONFIG["image_token_id"],
        "text_config": {**language, "model_type": "paddleocr_vl_text"},
        "vision_config": VISION,
    }
    assert load_geometry(write(config=nested)) == load_geometry(write())
    flat, other = (
        replace(
            load_checkpoint(str(write(config=config)), weights=False), text_config={}, fingerprint="its own"
        )
        for config in (CONFIG, nested)
    )
    assert flat == other
    assert (flat.hidden_size, flat.vision_hidden) == (1024, 1152)


def test_bytes_of_a_checkpoint_without_weights_are_divided_as_its_modules_are(write: Write) -> None:
    hidden, inner, depth = 1152, 4304, 27
    block = 4 * (hidden + 1) * hidden + (hidden + 1) * inner + (inner + 1) * hidden + 4 * hidden
    embeddings = (3 * 14**2 + 1) * hidden + 27 * 27 * hidden
    projector = 2 * hidden + (4 * hidden + 1) * 4 * hidden + (4 * hidden + 1) * 1024
    tower = embeddings + depth * block + 2 * hidden + projector
    assert load_checkpoint(str(write()), weights=False).vision_bytes == 2 * tower


@pytest.mark.parametrize(
    ("stored", "owned"),
    [
        ("visual.vision_model.encoder.layers.26.mlp.fc1.weight", True),
        ("model.visual.vision_model.post_layernorm.bias", True),
        ("visual.vision_model.embeddings.packing_position_embedding.weight", True),
        ("visual.vision_model.head.attention.in_proj_weight", True),
        ("mlp_AR.linear_1.weight", True),
        ("model.projector.pre_norm.weight", True),
        ("model.layers.0.mlp.up_proj.weight", False),
        ("model.language_model.norm.weight", False),
        ("lm_head.weight", False),
    ],
)
def test_the_familys_own_tensors(write: Write, stored: str, owned: bool) -> None:
    assert family_of(write()).owns(stored) is owned


def test_the_image_token_is_the_one_that_the_tokenizer_names(write: Write) -> None:
    folder = write(
        config=CONFIG | {"image_token_id": 3},
        tokenizer={"model": {"vocab": {"<i>": 3}}},
        tokenizer_config={"image_token": "<i>"},
    )
    geometry = read_geometry(folder)
    assert (geometry.image_token, geometry.facts.placeholders) == (3, ("<i>",))


def test_the_fingerprint_follows_what_decides_pixels_and_rows(write: Write) -> None:
    def fingerprint(**replaced: Any) -> str:
        return read_geometry(write(**replaced)).facts.fingerprint

    same = {fingerprint(), fingerprint(tokenizer_config=None), fingerprint(config=CONFIG | {"x": 1})}
    others = [
        fingerprint(preprocessor_config=PROCESSOR | {"max_pixels": 784000}),
        fingerprint(preprocessor_config=PROCESSOR | {"image_mean": [0.4, 0.5, 0.5]}),
        fingerprint(config=CONFIG | {"vision_config": VISION | {"image_size": 280}}),
    ]
    assert len(same) == 1 and len({*same, *others}) == 4


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"config": {"model_type": "paddleocr_vl"}}, "no vision_config"),
        ({"preprocessor_config": None}, "neither preprocessor_config.json nor an image_processor"),
        ({"preprocessor_config": PROCESSOR | {"resample": 2}}, "resample = 2; only 3"),
        ({"preprocessor_config": PROCESSOR | {"do_resize": False}}, "do_resize = False"),
        (
            {"preprocessor_config": PROCESSOR | {"temporal_patch_size": 2}},
            "temporal_patch_size 2; needed is 1",
        ),
        (
            {"preprocessor_config": PROCESSOR | {"patch_size": 16}},
            "patch_size 16 and vision_config.patch_size is 14",
        ),
        (
            {"config": CONFIG | {"vision_config": VISION | {"spatial_merge_size": 4}}},
            "has merge_size 2 and vision_config.spatial_merge_size is 4",
        ),
        (
            {
                "config": CONFIG | {"vision_config": VISION | {"patch_size": 0}},
                "preprocessor_config": PROCESSOR | {"patch_size": 0},
            },
            "patch_size 0 .* whole number above 0",
        ),
        ({"preprocessor_config": PROCESSOR | {"min_pixels": 0}}, "at least 0 and at most 2822400 pixels"),
        ({"preprocessor_config": PROCESSOR | {"max_pixels": 3000}}, "at least 147384 and at most 3000"),
        ({"preprocessor_config": PROCESSOR | {"max_pixels": "many"}}, "at most 'many' pixels"),
        ({"preprocessor_config": WITHOUT_BOUNDS | {"size": {"shortest_edge": 784}}}, "784 and at most None"),
        ({"preprocessor_config": WITHOUT_BOUNDS | {"size": 448}}, "at least None and at most None pixels"),
        ({"config": CONFIG | {"image_token_id": 9}}, "image_token_id 9 and tokenizer.json"),
        ({"tokenizer": None}, "has no tokenizer.json"),
        (
            {"tokenizer": TOKENIZER | {"added_tokens": []}},
            r"no token '<\|IMAGE_PLACEHOLDER\|>' \(image_token\)",
        ),
    ],
)
def test_files_that_are_missing_or_disagree_are_named(
    write: Write, replaced: dict[str, Any], words: str
) -> None:
    folder = write(**replaced)
    with pytest.raises(ConfigurationError, match=words):
        load_geometry(folder)
