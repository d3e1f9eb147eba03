"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain import Filter
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.llava.geometry import LlavaGeometry
from tests.service.families.llava.conftest import Write
from tests.service.families.llava.hub import CONFIG, PROCESSOR, TOKENIZER, VISION

SIGLIP = {"model_type": "siglip_vision_model", "image_size": 378, "patch_size": 14}


def test_what_the_hubs_files_say(write: Write) -> None:
    geometry = load_geometry(write())
    assert isinstance(geometry, LlavaGeometry)
    assert (geometry.tile, geometry.resize, geometry.tokens, geometry.patches) == (336, 336, 576, 576)
    assert (geometry.image_token, geometry.filter) == (32000, Filter.BICUBIC)
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("llava", "LlavaForConditionalGeneration")
    assert (facts.placeholders, facts.max_ratio, facts.independent_tiles) == (("<image>",), 200, True)


def test_what_config_leaves_out_is_the_default_of_its_class(write: Write) -> None:
    folder = write()
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    found = load_checkpoint(str(folder))
    assert (found.hidden_size, found.context, found.text_config["vocab_size"]) == (4096, 4096, 32064)
    # keys and values of 32 layers, 32 heads of 128 numbers, two bytes each
    assert found.kv_bytes_per_token == 2 * 32 * 32 * 128 * 2


@pytest.mark.parametrize("model_type", ["llama", "mistral"])
def test_the_defaults_are_transformers(model_type: str) -> None:
    from transformers import AutoConfig

    from service.families.llava.text import TEXT_DEFAULTS

    config = AutoConfig.for_model(model_type)
    given = TEXT_DEFAULTS[model_type]
    assert {name: getattr(config, name) for name in given} == given


@pytest.mark.parametrize(
    ("config", "processor", "tokens"),
    [
        ({}, {}, 577),
        ({"vision_config": SIGLIP}, {"size": 378, "crop_size": 378}, 729),
        (
            {"vision_config": SIGLIP},
            {"size": {"height": 378, "width": 378}, "do_center_crop": None, "crop_size": None},
            729,
        ),
    ],
    ids=["class token kept", "siglip cropped", "siglip squeezed"],
)
def test_other_towers(write: Write, config: dict[str, Any], processor: dict[str, Any], tokens: int) -> None:
    whole = CONFIG | {"vision_feature_select_strategy": "full"} | config
    folder = write(config=whole, preprocessor_config=PROCESSOR | processor)
    assert load_geometry(folder).max_tokens == tokens


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            {"config": CONFIG | {"image_token_index": 5}},
            "image_token_index 5 and tokenizer.json gives",
        ),
        (
            {"config": CONFIG | {"vision_config": {**VISION, "model_type": "dinov2"}}},
            "model_type 'dinov2'; LLaVA's",
        ),
        (
            {"config": CONFIG | {"vision_config": {**VISION, "patch_size": 400}}},
            "image_size 336 and patch_size 400",
        ),
        (
            {"config": CONFIG | {"vision_config": SIGLIP}},
            "'default', which drops the first",
        ),
        ({"config": CONFIG | {"vision_feature_select_strategy": "cls"}}, "strategy 'cls'; allowed are"),
        ({"config": CONFIG | {"vision_config": None}}, "has no vision_config"),
        ({"preprocessor_config": PROCESSOR | {"do_pad": True}}, "do_pad = True; only False"),
        ({"preprocessor_config": PROCESSOR | {"do_center_crop": False}}, "do_center_crop False"),
        (
            {"preprocessor_config": PROCESSOR | {"crop_size": {"height": 224, "width": 224}}},
            "tower takes 336×336",
        ),
        (
            {"preprocessor_config": PROCESSOR | {"size": {"longest_edge": 3}}},
            "size {'longest_edge': 3}; needed is",
        ),
        ({"preprocessor_config": PROCESSOR | {"resample": 0}}, "resample = 0; only"),
        ({"tokenizer": TOKENIZER | {"added_tokens": []}}, "no token '<image>'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_disagree_are_refused(write: Write, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_geometry(write(**replaced))


def test_the_fingerprint_follows_what_decides_pixels_and_tokens(write: Write) -> None:
    def fingerprint(**replaced: Any) -> str:
        return load_geometry(write(**replaced)).facts.fingerprint

    one = fingerprint()
    assert fingerprint(tokenizer_config={"a": 1}) == one
    assert fingerprint(config=CONFIG | {"vision_feature_layer": -1}) != one
    assert fingerprint(preprocessor_config=PROCESSOR | {"image_mean": [0.5, 0.5, 0.5]}) != one
