"""What a checkpoint says of its geometry, in files of either generation, and files that disagree."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.qwen_vl.geometry import read_geometry
from tests.service.families.native.hub import CONFIG, PROCESSOR, TOKENIZER, Write


@pytest.mark.parametrize(
    ("fields", "pixels"),
    [
        ({}, (3136, 1003520)),
        ({"size": {"shortest_edge": 784, "longest_edge": 78400}}, (784, 78400)),
        ({"size": {"shortest_edge": 784, "longest_edge": 78400}, "max_pixels": 7840}, (784, 7840)),
        ({"min_pixels": 784}, (784, 1003520)),
        ({"size": {"min_pixels": 1, "max_pixels": 2}, "min_pixels": 784, "max_pixels": 7840}, (784, 7840)),
        ({"size": None, "min_pixels": None, "max_pixels": 7840}, (3136, 7840)),
    ],
)
def test_bounds_are_read_as_transformers_reads_them(
    write: Write, fields: dict[str, Any], pixels: tuple[int, int]
) -> None:
    from transformers import Qwen2VLImageProcessor

    rest = {name: value for name, value in PROCESSOR.items() if name not in ("min_pixels", "max_pixels")}
    folder = write(preprocessor_config=rest | fields)
    geometry = read_geometry(folder)
    assert (geometry.min_pixels, geometry.max_pixels) == pixels
    size = Qwen2VLImageProcessor.from_pretrained(folder).size
    assert (size["shortest_edge"], size["longest_edge"]) == pixels


@pytest.mark.parametrize("old", [True, False], ids=["with-old-file", "alone"])
def test_the_file_of_transformers_5_wins(write: Write, old: bool) -> None:
    nested = {"image_processor": PROCESSOR | {"max_pixels": 78400}}
    folder = write(processor_config=nested, preprocessor_config=PROCESSOR if old else None)
    assert read_geometry(folder).max_pixels == 78400


def test_both_generations_of_config_are_read(write: Write) -> None:
    nested = {name: value for name, value in CONFIG.items() if name != "hidden_size"}
    nested["text_config"] = {"hidden_size": 3584}
    assert load_geometry(write(config=nested)) == load_geometry(write())


@pytest.mark.parametrize("named", ["image_token", "extra_special_tokens"])
def test_the_image_token_is_the_one_that_the_tokenizer_names(write: Write, named: str) -> None:
    tokens = [{"id": 3, "content": "<i>"}, *TOKENIZER["added_tokens"][:2]]
    settings = {named: "<i>" if named == "image_token" else {"image_token": {"content": "<i>"}}}
    geometry = read_geometry(
        write(
            config=CONFIG | {"image_token_id": 3},
            tokenizer={"model": {"vocab": {}}, "added_tokens": tokens},
            tokenizer_config=settings,
        )
    )
    assert geometry.image_token == 3
    assert geometry.facts.placeholders == ("<|vision_start|>", "<|vision_end|>", "<i>")


def test_special_tokens_without_names_name_none(write: Write) -> None:
    folder = write(tokenizer_config={"extra_special_tokens": ["<|image_pad|>", "<|video_pad|>"]})
    assert read_geometry(folder).image_token == 151655


def test_the_fingerprint_follows_what_decides_pixels_and_rows(write: Write) -> None:
    def fingerprint(**replaced: Any) -> str:
        return read_geometry(write(**replaced)).facts.fingerprint

    same = {fingerprint(), fingerprint(tokenizer_config=None), fingerprint(config=CONFIG | {"x": 1})}
    others = [
        fingerprint(preprocessor_config=PROCESSOR | {"max_pixels": 78400}),
        fingerprint(preprocessor_config=PROCESSOR | {"image_mean": [0.5, 0.5, 0.5]}),
        fingerprint(config=CONFIG | {"vision_config": CONFIG["vision_config"] | {"window_size": 56}}),
    ]
    assert len(same) == 1 and len({*same, *others}) == 4


VISION = CONFIG["vision_config"]


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"config": {"model_type": "qwen2_5_vl"}}, "no vision_config"),
        ({"preprocessor_config": None}, "neither preprocessor_config.json nor an image_processor"),
        ({"preprocessor_config": PROCESSOR | {"resample": 2}}, "resample = 2; only 3"),
        ({"preprocessor_config": PROCESSOR | {"do_resize": False}}, "do_resize = False"),
        (
            {"preprocessor_config": PROCESSOR | {"patch_size": 16}},
            "patch_size 16 and vision_config.patch_size is 14",
        ),
        (
            {"config": CONFIG | {"vision_config": VISION | {"spatial_merge_size": 4}}},
            "merge_size 2 and vision_config.spatial_merge_size is 4",
        ),
        (
            {"config": CONFIG | {"vision_config": VISION | {"temporal_patch_size": 1}}},
            "temporal_patch_size 2 and vision_config.temporal_patch_size is 1",
        ),
        (
            {
                "config": CONFIG | {"vision_config": VISION | {"patch_size": 0}},
                "preprocessor_config": PROCESSOR | {"patch_size": 0},
            },
            "patch_size 0 .* whole number above 0",
        ),
        ({"preprocessor_config": PROCESSOR | {"min_pixels": 0}}, "0 to 12845056 pixels"),
        ({"preprocessor_config": PROCESSOR | {"max_pixels": 3000}}, "3136 to 3000 pixels .* max_pixels 3000"),
        ({"preprocessor_config": PROCESSOR | {"max_pixels": "many"}}, "3136 to 'many' pixels"),
        (
            {"preprocessor_config": {"size": {"shortest_edge": 784}}},
            "784 to None pixels .* shortest_edge .* longest_edge",
        ),
        ({"preprocessor_config": {"size": {}}}, "None to None pixels"),
        ({"preprocessor_config": {"size": 448}}, "size 448; needed are shortest_edge and longest_edge"),
        (
            {"config": CONFIG | {"image_token_id": 9}},
            "image_token_id 9 and tokenizer.json gives '<|image_pad|>'",
        ),
        ({"tokenizer": None}, "has no tokenizer.json"),
        ({"tokenizer": {"model": {"vocab": {"a": 0}}}}, r"no token '<\|image_pad\|>' \(image_token\)"),
    ],
)
def test_files_that_are_missing_or_disagree_are_named(
    write: Write, replaced: dict[str, Any], words: str
) -> None:
    folder = write(**replaced)
    with pytest.raises(ConfigurationError, match=words):
        load_geometry(folder)
