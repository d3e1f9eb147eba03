"""What a checkpoint's files say about Command A Vision's geometry, checked against each other.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import isqrt
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

_TOKENS = {
    "boi_token": "<|START_OF_IMG|>",
    "eoi_token": "<|END_OF_IMG|>",
    "image_token": "<|IMG_PATCH|>",
    "img_line_break_token": "<|IMG_LINE_BREAK|>",
}
_TOWER = "siglip_vision_model"
_MOST_TILES = 1024
"""Grids are enumerated; the released model has up to 12 tiles."""
_SIDE, _GRID = 512, 16
"""Pixels and soft tokens on a side of a tile where the processor does not say them."""
TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "cohere2": {
        "hidden_size": 8192,
        "max_position_embeddings": 8192,
        "num_attention_heads": 64,
        "num_hidden_layers": 40,
        "sliding_window": 4096,
        "tie_word_embeddings": True,
        "vocab_size": 256000,
    }
}
"""Of transformers' Cohere2Config."""


def read_facts(folder: Path) -> dict[str, Any]:
    """The fields of Cohere2VisionGeometry. Raises ConfigurationError."""
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    must_process_as_we_do(processor, file)
    vision = read_object(config, "vision_config", folder / "config.json")
    tile = _tile(processor, vision, file)
    patches, tokens = _per_tile(config, vision, tile, folder / "config.json")
    if (said := processor.get("patch_size", _GRID)) != isqrt(tokens):
        raise ConfigurationError(
            f"model: {file} has patch_size {said!r}, which is how many soft tokens a side of a tile has; the tower "
            f"makes {isqrt(tokens)}"
        )
    names, ids = read_tokens(folder, _TOKENS, tuple(_TOKENS))
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    decisive = ["cohere2_vision", processor, vision]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return {
        "facts": FamilyFacts(
            family="cohere2_vision",
            architecture=(config.get("architectures") or ["Cohere2VisionForConditionalGeneration"])[0],
            placeholders=tuple(names.values()),
            fingerprint=f"cohere2_vision-{digest}",
        ),
        "tile_width": tile,
        "tile_height": tile,
        "patches_per_tile": patches,
        "tokens_per_tile": tokens,
        "min_patches": 1,
        "max_patches": _most_tiles(processor, file),
        "start_token": ids["boi_token"],
        "context_token": ids["image_token"],
        "end_token": ids["eoi_token"],
        "line_break_token": ids["img_line_break_token"],
    }


def _tile(processor: Mapping[str, Any], vision: Mapping[str, Any], file: Path) -> int:
    """The side of a tile in pixels."""
    if (kind := vision.get("model_type", _TOWER)) != _TOWER:
        raise ConfigurationError(
            f"model: {file.parent / 'config.json'} has a vision_config of model_type {kind!r}; needed is {_TOWER!r}"
        )
    size, side = processor.get("size", {"height": _SIDE, "width": _SIDE}), vision.get("image_size", 224)
    if not is_count(side) or size != {"height": side, "width": side}:
        raise ConfigurationError(
            f"model: {file} has size {size!r} and the tower takes images of {side!r} pixels; needed is that as height "
            "and width"
        )
    return side


def _per_tile(config: Mapping[str, Any], vision: Mapping[str, Any], tile: int, file: Path) -> tuple[int, int]:
    """(patches through the tower, soft tokens) of one tile."""
    patch, factor = vision.get("patch_size", 16), config.get("downsample_factor", 2)
    grid = tile // patch if is_count(patch) else 0
    if not grid or not is_count(factor) or grid % factor:
        raise ConfigurationError(
            f"model: {file} gives tiles of {tile} pixels, patch_size {patch!r} and downsample_factor {factor!r}, which "
            "do not divide evenly"
        )
    return grid**2, (grid // factor) ** 2


def _most_tiles(processor: Mapping[str, Any], file: Path) -> int:
    """Of a grid; without `crop_to_patches` an image is one tile, as the smallest grid is."""
    most = processor.get("max_patches", 12)
    if not is_count(most) or most > _MOST_TILES:
        raise ConfigurationError(
            f"model: {file} has max_patches {most!r}; needed is a whole number from 1 to {_MOST_TILES}"
        )
    return most if processor.get("crop_to_patches", True) else 1
