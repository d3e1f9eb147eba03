"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.gemma4.files import BUDGETS, TEXT_DEFAULTS, VISION_DEFAULTS
from service.families.gemma4.geometry import Gemma4Geometry
from service.families.registry import family_of
from tests.service.families.gemma4.hub import CONFIG, IMAGES, PROCESSOR, TEXT, TOKENIZER, VISION

Write = Callable[..., Path]


def config(**fields: Any) -> dict[str, Any]:
    return {"config": CONFIG | fields}


def images(**fields: Any) -> dict[str, Any]:
    return {"processor_config": PROCESSOR | {"image_processor": IMAGES | fields}}


def test_what_the_hubs_files_say(write: Write) -> None:
    geometry = load_geometry(write())
    assert isinstance(geometry, Gemma4Geometry)
    assert (geometry.patch, geometry.merge, geometry.cell, geometry.max_tokens) == (16, 3, 48, 280)
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("gemma4", "Gemma4ForConditionalGeneration")
    assert facts.placeholders[:3] == ("<|image>", "<image|>", "<|image|>")
    assert not facts.independent_tiles


@pytest.mark.parametrize(("asked", "both"), [("vision", True), (None, False)])
def test_attention_in_both_directions_is_the_checkpoints_choice(
    write: Write, asked: str | None, both: bool
) -> None:
    text = {**TEXT, "use_bidirectional_attention": asked}
    assert load_geometry(write(**config(text_config=text))).facts.bidirectional_images == both


def test_what_config_leaves_out_is_the_default_of_its_class(write: Write) -> None:
    folder = write(**config(text_config={"model_type": "gemma4_text"}, vision_config={}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    found = load_checkpoint(str(folder))
    assert (found.hidden_size, found.context, found.vision_hidden, found.tied) == (2304, 131072, 768, True)
    assert family_of(folder).vision_sizes({"patch_size": 8})["patch_size"] == 8


def test_the_defaults_are_transformers() -> None:
    from transformers import Gemma4ImageProcessor, Gemma4TextConfig, Gemma4VisionConfig
    from transformers.models.gemma4.image_processing_gemma4 import _SUPPORTED_SOFT_TOKENS

    given = TEXT_DEFAULTS["gemma4_text"]
    text = Gemma4TextConfig()
    text.allow_global_per_layer_attribute_access = True  # layers that see everything have wider heads
    assert {name: getattr(text, name) for name in given} == given
    assert {name: getattr(Gemma4VisionConfig(), name) for name in VISION_DEFAULTS} == VISION_DEFAULTS
    assert _SUPPORTED_SOFT_TOKENS == BUDGETS
    assert Gemma4ImageProcessor().max_soft_tokens == 280


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (images(max_soft_tokens=300), "max_soft_tokens 300; allowed are 70, 140, 280, 560, 1120"),
        (images(patch_size=14), "patch_size 14 and vision_config 16; needed is one whole number"),
        (images(pooling_kernel_size=2), "pooling_kernel_size 2 and vision_config 3"),
        (images(resample=2), "resample = 2; only 3"),
        (images(do_resize=False), "do_resize = False; only True"),
        (
            config(vision_config={**VISION, "position_embedding_size": 800}),
            "800; needed are the 3360 patches",
        ),
        (config(vision_config=None), "has no vision_config"),
        (config(image_token_id=5), "image_token_id 5 and tokenizer.json gives"),
        (
            config(text_config={**TEXT, "use_bidirectional_attention": "all"}),
            "use_bidirectional_attention 'all', a language model that embeds; allowed are 'vision' and null",
        ),
        ({"tokenizer": TOKENIZER | {"added_tokens": []}}, "no token '<|image>'"),
        ({"processor_config": {}}, "has neither preprocessor_config.json nor an image_processor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_disagree_are_refused(write: Write, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("|", r"\|")):
        load_geometry(write(**replaced))


def test_the_fingerprint_follows_what_decides_pixels_and_tokens(write: Write) -> None:
    def fingerprint(**replaced: Any) -> str:
        return load_geometry(write(**replaced)).facts.fingerprint

    one = fingerprint()
    assert fingerprint(**images(max_soft_tokens=560)) != one
    assert fingerprint(**images(do_normalize=True)) != one
    assert fingerprint(**config(vision_config={**VISION, "num_hidden_layers": 2})) != one
    assert fingerprint(**config(dtype="float32")) == one
