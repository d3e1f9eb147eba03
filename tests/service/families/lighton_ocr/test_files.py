"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from service.domain import LanguageModel
from service.errors import ConfigurationError, InvalidRequest
from service.families import load_geometry
from service.families.lighton_ocr import files
from service.families.lighton_ocr.geometry import LightOnOcrGeometry
from service.families.registry import family_of
from tests.service.families.lighton_ocr.hub import (
    CONFIG,
    PROCESSOR,
    RELEASED_CONFIG,
    TOKENIZER,
    VISION,
    WHOLE,
)

Write = Callable[..., Path]


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def test_what_lighton_ocr_says(write: Write) -> None:
    geometry = load_geometry(write())
    assert isinstance(geometry, LightOnOcrGeometry)
    assert (geometry.patch, geometry.merge, geometry.cell, geometry.edge) == (14, 2, 28, 1540)
    assert (geometry.image_token, geometry.break_token, geometry.end_token) == (151655, 151654, 151653)
    assert geometry.max_tokens == geometry.largest.layout.positions == 55 * 55
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("lighton_ocr", "LightOnOcrForConditionalGeneration")
    assert facts.placeholders == ("<|image_pad|>", "<|vision_pad|>", "<|vision_end|>")
    assert (facts.max_ratio, facts.min_side, facts.independent_tiles) == (200, 1, False)
    assert facts.language == LanguageModel("Qwen3ForCausalLM", "model.language_model.", "<|image_pad|>")


def test_what_the_released_files_say(write: Write) -> None:
    geometry, saved = load_geometry(write(config=RELEASED_CONFIG)), load_geometry(write())
    assert isinstance(geometry, LightOnOcrGeometry) and isinstance(saved, LightOnOcrGeometry)
    # vLLM has a class for them, which brings images to the tower's own size alone
    assert (geometry.facts.architecture, geometry.facts.language) == (
        "LightOnOCRForConditionalGeneration",
        None,
    )
    assert (geometry.fixed_edge, saved.fixed_edge) == (1540, None)
    with pytest.raises(InvalidRequest, match="to 512 pixels at most, .* to 1540, .*ask for detail: high"):
        geometry.processor_options("low")
    assert replace(geometry, facts=saved.facts, fixed_edge=None) == saved


def test_a_mistral_with_another_language_model_stays_one(write: Write) -> None:
    config = RELEASED_CONFIG | {"text_config": {"model_type": "mistral"}}
    assert not isinstance(load_geometry(write(config=config)), LightOnOcrGeometry)


def test_what_files_may_leave_out(write: Write) -> None:
    whole = load_geometry(write())
    config = without(CONFIG, "architectures", "spatial_merge_size", *files.FIXED)
    text = without(CONFIG["text_config"], "model_type", "rms_norm_eps")
    assert load_geometry(write(config=config | {"text_config": text}, processor_config=None)) == whole
    small = load_geometry(write(preprocessor_config=without(PROCESSOR, "size")))
    assert isinstance(small, LightOnOcrGeometry) and small.edge == 1024


def test_defaults_are_those_of_transformers() -> None:
    from transformers import (
        LightOnOcrConfig,
        LightOnOcrProcessor,
        PixtralImageProcessor,
        PixtralProcessor,
        PixtralVisionConfig,
        Qwen3Config,
    )

    text, images = Qwen3Config(), PixtralImageProcessor()
    ours = files.TEXT_DEFAULTS["qwen3"]
    assert {name: getattr(text, name) for name in ours} == ours
    assert PixtralVisionConfig().patch_size == files.PATCH
    assert LightOnOcrConfig().spatial_merge_size == files.MERGE
    assert (images.size["longest_edge"], text.rms_norm_eps) == (files.EDGE, files.EPS)
    for kind, ours in zip((LightOnOcrProcessor, PixtralProcessor), files.PROCESSORS.values(), strict=True):
        given = signature(kind.__init__).parameters
        assert {name: given[name].default for name in ours} == ours


def test_what_the_plan_needs_of_the_tower_and_the_language_model(write: Write) -> None:
    family = family_of(write())
    sizes = family.vision_sizes({"model_type": "pixtral"})
    assert (sizes["hidden_size"], sizes["num_hidden_layers"]) == (1024, 24)
    assert family.text_defaults["qwen3"]["head_dim"] == 128


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("model.vision_encoder.ln_pre.weight", True),
        (
            "model.vision_tower.ln_pre.weight",
            True,
        ),  # in the model that transformers makes of a released config.json
        ("vision_projection.patch_merger.merging_layer.weight", True),
        ("model.language_model.layers.0.mlp.up_proj.weight", False),
        ("lm_head.weight", False),
        ("model.language_model.vision_encoder.ln_pre.weight", False),
    ],
)
def test_whose_a_tensor_is(write: Write, name: str, own: bool) -> None:
    assert family_of(write()).owns(name) is own


def test_the_file_of_transformers_5_wins(write: Write) -> None:
    nested = WHOLE | {"image_processor": PROCESSOR | {"size": {"longest_edge": 280}}}
    geometry = load_geometry(write(processor_config=nested))
    assert isinstance(geometry, LightOnOcrGeometry) and geometry.edge == 280


def test_tokens_are_called_as_the_tokenizer_calls_them(write: Write) -> None:
    added = [{"id": 4, "content": "<i>"}, *TOKENIZER["added_tokens"]]
    geometry = load_geometry(
        write(
            config=without(CONFIG, "image_token_id"),
            tokenizer=TOKENIZER | {"added_tokens": added},
            tokenizer_config={"extra_special_tokens": {"image_token": "<i>"}},
        )
    )
    assert isinstance(geometry, LightOnOcrGeometry) and geometry.image_token == 4
    assert geometry.facts.placeholders == ("<i>", "<|vision_pad|>", "<|vision_end|>")
    assert geometry.facts.language is not None and geometry.facts.language.placeholder == "<i>"


def test_the_fingerprint_follows_what_decides_pixels_and_rows(write: Write) -> None:
    def fingerprint(**replaced: Any) -> str:
        return load_geometry(write(**replaced)).facts.fingerprint

    text = CONFIG["text_config"]
    same = {fingerprint(), fingerprint(tokenizer_config=None), fingerprint(config=CONFIG | {"x": 1})}
    others = [
        fingerprint(preprocessor_config=PROCESSOR | {"size": {"longest_edge": 280}}),
        fingerprint(preprocessor_config=PROCESSOR | {"image_mean": [0.5, 0.5, 0.5]}),
        fingerprint(config=CONFIG | {"vision_config": VISION | {"num_hidden_layers": 2}}),
        fingerprint(config=CONFIG | {"text_config": text | {"rms_norm_eps": 1e-5}}),
        fingerprint(
            config=CONFIG | {"spatial_merge_size": 1}, processor_config=WHOLE | {"spatial_merge_size": 1}
        ),
    ]
    assert len(same) == 1 and len({*same, *others}) == 6


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"config": without(CONFIG, "vision_config")}, "no vision_config"),
        ({"config": without(CONFIG, "text_config")}, "no text_config"),
        (
            {"config": CONFIG | {"architectures": ["LightOnOCRForConditionalGeneration"]}},
            "architectures 'LightOnOCRForConditionalGeneration'; LightOnOCR's is 'LightOnOcrFor",
        ),
        (
            {"config": CONFIG | {"text_config": {"model_type": "llama"}}},
            "a text_config of model_type 'llama'; LightOnOCR's is 'qwen3'",
        ),
        (
            {"config": RELEASED_CONFIG | {"architectures": ["Mistral3ForConditionalGeneration"]}},
            "architectures 'Mistral3ForConditionalGeneration'; LightOnOCR's is 'LightOnOCRFor",
        ),
        (
            {"config": RELEASED_CONFIG, "processor_config": None},
            r"patch_size 16 \(processor_config.json\) and sees 14",
        ),
        ({"config": CONFIG | {"vision_feature_layer": -2}}, "vision_feature_layer -2; LightOnOCR's is -1"),
        ({"config": CONFIG | {"multimodal_projector_bias": True}}, "multimodal_projector_bias True"),
        ({"config": CONFIG | {"projector_hidden_act": "silu"}}, "projector_hidden_act 'silu'"),
        ({"preprocessor_config": None}, "neither preprocessor_config.json nor an image_processor"),
        ({"preprocessor_config": PROCESSOR | {"resample": 2}}, "resample = 2; only 3"),
        ({"preprocessor_config": PROCESSOR | {"do_center_crop": True}}, "do_center_crop = True"),
        ({"preprocessor_config": PROCESSOR | {"size": 448}}, "size 448; needed is a longest_edge"),
        ({"preprocessor_config": PROCESSOR | {"size": {"longest_edge": 0}}}, "needed is a longest_edge"),
        (
            {"preprocessor_config": PROCESSOR | {"size": {"height": 9, "width": 9}}},
            "needed is a longest_edge",
        ),
        ({"processor_config": WHOLE | {"patch_size": 16}}, r"patch_size 16 \(processor.* sees 14 \(config"),
        (
            {"config": CONFIG | {"vision_config": without(VISION, "patch_size")}, "processor_config": None},
            r"patch_size 14 \(processor.* sees 16",
        ),
        ({"config": CONFIG | {"spatial_merge_size": 4}}, r"spatial_merge_size 2 \(processor.* sees 4"),
        (
            {
                "config": CONFIG | {"spatial_merge_size": 0},
                "processor_config": WHOLE | {"spatial_merge_size": 0},
            },
            "spatial_merge_size 0 .* whole number above 0",
        ),
        (
            {"config": CONFIG | {"image_token_id": 9}},
            "image_token_id 9 and tokenizer.json gives '<.image_pad.>'",
        ),
        ({"tokenizer": None}, "has no tokenizer.json"),
        (
            {"tokenizer": TOKENIZER | {"added_tokens": TOKENIZER["added_tokens"][1:]}},
            r"no token '<.vision_end.>' \(image_end_token\)",
        ),
    ],
)
def test_files_that_are_missing_or_disagree_are_named(
    write: Write, replaced: dict[str, Any], words: str
) -> None:
    folder = write(**replaced)
    with pytest.raises(ConfigurationError, match=words):
        load_geometry(folder)
