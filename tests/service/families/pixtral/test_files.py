"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.llava.geometry import LlavaGeometry
from service.families.pixtral.geometry import PixtralGeometry
from service.families.registry import family_of
from tests.service.families.llava.hub import CONFIG as CLIP_CONFIG
from tests.service.families.llava.hub import PROCESSOR as CLIP_PROCESSOR
from tests.service.families.llava.hub import TOKENIZER as CLIP_TOKENIZER
from tests.service.families.pixtral.hub import (
    CONFIG,
    LLAVA_CONFIG,
    LLAVA_WHOLE,
    PROCESSOR,
    TOKENIZER,
    VISION,
    WHOLE,
)

Write = Callable[..., Path]


def test_what_mistral_small_says(write: Write) -> None:
    geometry = load_geometry(write())
    assert isinstance(geometry, PixtralGeometry)
    assert (geometry.patch, geometry.merge, geometry.cell, geometry.edge) == (14, 2, 28, 1540)
    assert (geometry.image_token, geometry.break_token, geometry.end_token) == (10, 12, 13)
    assert (geometry.max_tokens, geometry.largest.layout.positions) == (55 * 55, 55 * 56)
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("pixtral", "Mistral3ForConditionalGeneration")
    assert facts.placeholders == ("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    assert (facts.max_ratio, facts.min_side, facts.independent_tiles) == (200, 1, False)


def test_what_pixtral_says(write_llava: Write) -> None:
    folder = write_llava()
    geometry = load_geometry(folder)
    assert isinstance(geometry, PixtralGeometry)
    assert (geometry.cell, geometry.merge, geometry.max_tokens) == (16, 1, 64 * 64)
    assert geometry.facts.architecture == "LlavaForConditionalGeneration"
    # what the plan needs to know of the tower, and config.json leaves out
    vision = family_of(folder).vision_sizes(LLAVA_CONFIG["vision_config"])
    assert {name: vision[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")} == {
        name: VISION[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")
    }


def test_defaults_are_those_of_transformers() -> None:
    from transformers import PixtralImageProcessor, PixtralVisionConfig

    from service.families.pixtral import _VISION
    from service.families.pixtral.files import _PATCH, _SIZE

    config = PixtralVisionConfig()
    assert {name: getattr(config, name) for name in _VISION} == _VISION
    assert (config.patch_size, PixtralImageProcessor().size["longest_edge"]) == (
        _PATCH,
        _SIZE["longest_edge"],
    )


def test_a_llava_with_another_tower_stays_one(write: Write) -> None:
    folder = write(
        config=CLIP_CONFIG,
        preprocessor_config=CLIP_PROCESSOR,
        processor_config=None,
        tokenizer=CLIP_TOKENIZER,
    )
    assert isinstance(load_geometry(folder), LlavaGeometry)


def test_the_file_of_transformers_5_wins(write: Write) -> None:
    nested = WHOLE | {"image_processor": PROCESSOR | {"size": {"longest_edge": 280}}}
    geometry = load_geometry(write(processor_config=nested))
    assert isinstance(geometry, PixtralGeometry) and geometry.edge == 280


def test_tokens_are_called_as_the_files_call_them(write: Write) -> None:
    tokens = [
        {"id": 10, "content": "<i>"},
        {"id": 4, "content": "<b>"},
        {"id": 5, "content": "<e>"},
        {"id": 12, "content": "[IMG_BREAK]"},
    ]
    names = {"image_token": "<i>", "image_break_token": "<b>", "image_end_token": "<e>"}
    geometry = load_geometry(
        write(processor_config=WHOLE | names, tokenizer=TOKENIZER | {"added_tokens": tokens})
    )
    assert isinstance(geometry, PixtralGeometry)
    assert (geometry.image_token, geometry.break_token, geometry.end_token) == (10, 4, 5)
    assert geometry.facts.placeholders == ("<i>", "<b>", "<e>")


def test_the_fingerprint_follows_what_decides_pixels_and_rows(write: Write) -> None:
    def fingerprint(**replaced: Any) -> str:
        return load_geometry(write(**replaced)).facts.fingerprint

    same = {fingerprint(), fingerprint(tokenizer_config=None), fingerprint(config=CONFIG | {"x": 1})}
    others = [
        fingerprint(preprocessor_config=PROCESSOR | {"size": {"longest_edge": 280}}),
        fingerprint(preprocessor_config=PROCESSOR | {"image_mean": [0.5, 0.5, 0.5]}),
        fingerprint(config=CONFIG | {"vision_config": VISION | {"num_hidden_layers": 2}}),
        fingerprint(config=CONFIG | {"vision_feature_layer": -2}),
        fingerprint(
            config=CONFIG | {"spatial_merge_size": 1}, processor_config=WHOLE | {"spatial_merge_size": 1}
        ),
    ]
    assert len(same) == 1 and len({*same, *others}) == 6


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"config": {"model_type": "mistral3"}}, "no vision_config"),
        ({"preprocessor_config": None}, "neither preprocessor_config.json nor an image_processor"),
        ({"preprocessor_config": PROCESSOR | {"resample": 2}}, "resample = 2; only 3"),
        ({"preprocessor_config": PROCESSOR | {"do_center_crop": True}}, "do_center_crop = True"),
        ({"preprocessor_config": PROCESSOR | {"size": 448}}, "size 448; needed is a longest_edge"),
        ({"preprocessor_config": PROCESSOR | {"size": {"longest_edge": 0}}}, "needed is a longest_edge"),
        (
            {"preprocessor_config": PROCESSOR | {"size": {"height": 9, "width": 9}}},
            "needed is a longest_edge",
        ),
        ({"processor_config": WHOLE | {"patch_size": 16}}, "patch_size 16 and config.json has 14"),
        ({"processor_config": None}, "patch_size 16 and config.json has 14"),
        (
            {"processor_config": LLAVA_WHOLE | {"patch_size": 14}},
            "spatial_merge_size 1 and config.json has 2",
        ),
        ({"config": CONFIG | {"spatial_merge_size": 4}}, "spatial_merge_size 2 and config.json has 4"),
        (
            {
                "config": CONFIG | {"spatial_merge_size": 0},
                "processor_config": WHOLE | {"spatial_merge_size": 0},
            },
            "spatial_merge_size 0 .* whole number above 0",
        ),
        (
            {"config": CONFIG | {"image_token_index": 9}},
            "image_token_index 9 and tokenizer.json gives '.IMG.'",
        ),
        ({"tokenizer": None}, "has no tokenizer.json"),
        (
            {"tokenizer": TOKENIZER | {"added_tokens": TOKENIZER["added_tokens"][:2]}},
            r"no token '\[IMG_END\]' \(image_end_token\)",
        ),
    ],
)
def test_files_that_are_missing_or_disagree_are_named(
    write: Write, replaced: dict[str, Any], words: str
) -> None:
    folder = write(**replaced)
    with pytest.raises(ConfigurationError, match=words):
        load_geometry(folder)
