"""What a checkpoint's files say about Gemma 4's geometry, checked against each other. Standard library only.

The tower knows five budgets of soft tokens, and the processor names one of them as its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.checkpoint.files import (
    is_count,
    must_name_image_token,
    must_process_as_we_do,
    read_image_processor,
    read_json,
    read_object,
    read_tokens,
)
from service.errors import ConfigurationError
from service.families.base import FamilyFacts

BUDGETS = (70, 140, 280, 560, 1120)
"""Soft tokens of an image at most; the tower was trained with these."""
TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma4_text": {
        "hidden_size": 2304,
        "num_attention_heads": 8,
        "num_hidden_layers": 30,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
        "vocab_size": 262144,
    }
}
"""What config.json may leave out of the language model's part: the defaults of transformers' class."""
VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 16,
    "num_attention_heads": 12,
    "patch_size": 16,
    "pooling_kernel_size": 3,
    "position_embedding_size": 10240,
}
"""The same of the vision_config."""
_PROCESSOR = {"max_soft_tokens": 280, "patch_size": 16, "pooling_kernel_size": 3}
_TOKENS = {"boi_token": "<|image>", "eoi_token": "<image|>", "image_token": "<|image|>"}


def read_facts(folder: Path) -> dict[str, Any]:
    """The fields of Gemma4Geometry. Raises ConfigurationError."""
    config = read_json(folder / "config.json")
    given, file = read_image_processor(folder)
    must_process_as_we_do(given, file, ignored=("do_normalize",))
    processor = {**_PROCESSOR, **{name: value for name, value in given.items() if value is not None}}
    vision = {**VISION_DEFAULTS, **read_object(config, "vision_config", folder / "config.json")}
    patch, merge = _shape(processor, vision, file)
    if (budget := processor["max_soft_tokens"]) not in BUDGETS:
        raise ConfigurationError(
            f"model: {file} has max_soft_tokens {budget!r}; allowed are {', '.join(map(str, BUDGETS))}"
        )
    _must_have_positions(vision, max(BUDGETS) * merge, folder)
    names, ids = read_tokens(folder, _TOKENS, tuple(_TOKENS))
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    return {
        "facts": FamilyFacts(
            family="gemma4",
            architecture=(config.get("architectures") or ["Gemma4ForConditionalGeneration"])[0],
            placeholders=(
                *(names[name] for name in _TOKENS),
                "<|video|>",
                "<|audio|>",
                "<|audio>",
                "<audio|>",
            ),
            fingerprint=_fingerprint(processor, vision),
            independent_tiles=False,  # a cell's patches attend to the whole image's
            bidirectional_images=_is_bidirectional(config, folder),
        ),
        "patch": patch,
        "merge": merge,
        "budget": budget,
        "own_budget": budget,
        # vLLM counts with this one where a request names none, and asks the processor for pixels
        "engine_budget": vision.get("default_output_length", 280),
        "image_token": ids["image_token"],
        "begin_token": ids["boi_token"],
        "end_token": ids["eoi_token"],
    }


def _shape(processor: Mapping[str, Any], vision: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """Pixels on a side of a patch, patches on a side of a cell."""
    for name in ("patch_size", "pooling_kernel_size"):
        cut, seen = processor[name], vision[name]
        if cut != seen or not is_count(cut):
            raise ConfigurationError(
                f"model: {file} has {name} {cut!r} and vision_config {seen!r}; needed is one whole number above 0 in "
                "both"
            )
    return processor["patch_size"], processor["pooling_kernel_size"]


def _must_have_positions(vision: Mapping[str, Any], longest: int, folder: Path) -> None:
    positions = vision["position_embedding_size"]
    if not is_count(positions) or positions < longest:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has position_embedding_size {positions!r}; needed are the {longest} "
            "patches of the longest strip at least"
        )


def _is_bidirectional(config: Mapping[str, Any], folder: Path) -> bool:
    """Whether the soft tokens of an image see each other in both directions, in layers with a sliding window."""
    asked = read_object(config, "text_config", folder / "config.json").get("use_bidirectional_attention")
    if asked not in (None, "vision"):
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has use_bidirectional_attention {asked!r}, a language model that embeds; "
            "allowed are 'vision' and null"
        )
    return asked == "vision"


def _fingerprint(processor: Mapping[str, Any], vision: Mapping[str, Any]) -> str:
    facts = ["gemma4", processor, vision]
    return "gemma4-" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
