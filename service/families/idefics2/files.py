"""What a checkpoint's files say about Idefics2's geometry, checked against each other. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.checkpoint.files import (
    BILINEAR,
    is_count,
    must_name_image_token,
    must_process_as_we_do,
    read_image_processor,
    read_json,
    read_object,
    read_tokens,
)
from service.domain import LanguageModel
from service.errors import ConfigurationError, ServedNowhere
from service.families.base import FamilyFacts
from service.families.idefics2.names import TEXT_PREFIX

TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "mistral": {
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "max_position_embeddings": 32768,
        "vocab_size": 32000,
    }
}
VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "image_size": 224,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "patch_size": 32,
}
"""What config.json may leave out of each part: the defaults of transformers' classes."""
LATENTS = 64
_SIZE = {"shortest_edge": 378, "longest_edge": 980}
_TOKENS = {"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"}


def read_facts(folder: Path) -> dict[str, Any]:
    """The fields of Idefics2Geometry. Raises ConfigurationError."""
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    must_process_as_we_do(processor, file, resamples=(BILINEAR,), ignored=("do_pad",))
    vision = {**VISION_DEFAULTS, **read_object(config, "vision_config", folder / "config.json")}
    shortest, longest = _sizes(processor, file)
    splits = processor.get("do_image_splitting", False)
    names, ids = read_tokens(folder, _TOKENS, tuple(_TOKENS))
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    perceiver = config.get("perceiver_config") or {}
    decisive = ["idefics2", processor, vision, perceiver]
    return {
        "facts": FamilyFacts(
            family="idefics2",
            architecture=(config.get("architectures") or ["Idefics2ForConditionalGeneration"])[0],
            placeholders=tuple(names.values()),
            fingerprint="idefics2-"
            + hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
            min_side=2 if splits else 1,  # each half has a pixel
            independent_tiles=False,  # each has a size of its own, so that they are not staged
            language=_language(config, names["image_token"], folder),
        ),
        "patch": _patch(vision, shortest, folder),
        "shortest": shortest,
        "longest": longest,
        "splits": bool(splits),
        "latents": _latents(perceiver, folder),
        "image_token": ids["image_token"],
        "fake_token": ids["image_boundary_token"],
    }


def _sizes(processor: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """Least of the shorter and most of the longer side, in pixels."""
    size = processor.get("size") or _SIZE
    shortest, longest = (size.get(edge) if isinstance(size, dict) else None for edge in _SIZE)
    if not (is_count(shortest) and is_count(longest) and shortest <= longest):
        raise ConfigurationError(
            f"model: {file} has size {size!r}; needed are whole numbers with 1 ≤ shortest_edge ≤ longest_edge"
        )
    return shortest, longest


def _patch(vision: Mapping[str, Any], shortest: int, folder: Path) -> int:
    """Pixels on a side of a patch."""
    patch, image = vision["patch_size"], vision["image_size"]
    if not (is_count(patch) and is_count(image) and patch <= min(shortest, image)):
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has patch_size {patch!r} and image_size {image!r} in its vision_config; "
            f"needed are whole numbers, the former no more than the latter and the {shortest} pixels of the shortest "
            "side"
        )
    return patch


def _latents(perceiver: Mapping[str, Any], folder: Path) -> int:
    """Soft tokens of a view."""
    latents, file = perceiver.get("resampler_n_latents", LATENTS), folder / "processor_config.json"
    said = read_json(file).get("image_seq_len", LATENTS) if file.is_file() else LATENTS
    if not is_count(latents) or said != latents:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has resampler_n_latents {latents!r} and the processor image_seq_len "
            f"{said!r}; needed are the same"
        )
    return latents


def _language(config: Mapping[str, Any], placeholder: str, folder: Path) -> LanguageModel:
    text = read_object(config, "text_config", folder / "config.json").get("model_type", "mistral")
    if text not in TEXT_DEFAULTS:
        raise ServedNowhere(
            f"model: {folder / 'config.json'} has a text_config of model_type {text!r}; only 'mistral' is supported, "
            "and vLLM serves no Idefics2: near it is Idefics3"
        )
    return LanguageModel("MistralForCausalLM", TEXT_PREFIX, placeholder)
