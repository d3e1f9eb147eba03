"""What a checkpoint's files say about InternVL's geometry, checked against each other. Standard library only."""

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

_TOKEN_NAMES = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_NEEDED_TOKENS = ("start_image_token", "end_image_token", "context_image_token")
_MOST_PATCHES = 1024
"""Grids are enumerated; InternVL itself was trained on 1 to 40."""


def read_facts(folder: Path) -> dict[str, Any]:
    """The fields of InternVLGeometry. Raises ConfigurationError."""
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    vision = read_object(config, "vision_config", folder / "config.json")
    must_process_as_we_do(processor, file)
    tile_height, tile_width = _tile(processor, vision, file)
    patches, tokens = _per_tile(config, vision, tile_height, tile_width, folder)
    fewest, most = processor.get("min_patches", 1), processor.get("max_patches", 12)
    if not (is_count(fewest) and is_count(most) and fewest <= most <= _MOST_PATCHES):
        raise ConfigurationError(
            f"model: {file} has min_patches {fewest!r} and max_patches {most!r}; needed are whole numbers with "
            f"1 ≤ min_patches ≤ max_patches ≤ {_MOST_PATCHES}"
        )
    names, ids = read_tokens(folder, _TOKEN_NAMES, _NEEDED_TOKENS)
    must_name_image_token(folder, config, names["context_image_token"], ids["context_image_token"])
    return {
        "facts": FamilyFacts(
            family="internvl",
            architecture=(config.get("architectures") or ["InternVLForConditionalGeneration"])[0],
            placeholders=tuple(names[name] for name in names if name in ids),
            fingerprint=_fingerprint(processor, vision, config),
        ),
        "tile_width": tile_width,
        "tile_height": tile_height,
        "patches_per_tile": patches,
        "tokens_per_tile": tokens,
        "min_patches": fewest,
        "max_patches": most,
        "start_token": ids["start_image_token"],
        "context_token": ids["context_image_token"],
        "end_token": ids["end_image_token"],
    }


def _tile(processor: Mapping[str, Any], vision: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """(height, width) of a tile in pixels."""
    size = processor.get("size")
    if not isinstance(size, dict) or not all(is_count(size.get(side)) for side in ("height", "width")):
        raise ConfigurationError(f"model: {file} has size {size!r}; needed are height and width in pixels")
    tile = size["height"], size["width"]
    if (tower := _pair(vision.get("image_size", 448))) != tile:
        raise ConfigurationError(
            f"model: {file} cuts tiles of {tile[1]}×{tile[0]} pixels and vision_config.image_size is {tower}"
        )
    return tile


def _per_tile(
    config: Mapping[str, Any], vision: Mapping[str, Any], height: int, width: int, folder: Path
) -> tuple[int, int]:
    """(patches through the tower, soft tokens) of one tile."""
    patch_height, patch_width = _pair(vision.get("patch_size", 14))
    ratio = config.get("downsample_ratio", 0.5)
    shuffle = max(1, round(1 / ratio)) if isinstance(ratio, int | float) and ratio > 0 else 0
    if (
        not shuffle
        or shuffle * ratio != 1
        or height % (patch_height * shuffle)
        or width % (patch_width * shuffle)
    ):
        raise ConfigurationError(
            f"model: {folder / 'config.json'} gives tiles of {width}×{height} pixels, patches of "
            f"{patch_width}×{patch_height} and downsample_ratio {ratio!r}, which do not divide evenly"
        )
    patches = (height // patch_height) * (width // patch_width)
    tokens = patches // shuffle**2
    processor = folder / "processor_config.json"
    for file, given in (
        (folder / "config.json", config),
        (processor, read_json(processor) if processor.is_file() else {}),
    ):
        if (said := given.get("image_seq_length", tokens)) != tokens:
            raise ConfigurationError(f"model: {file} has image_seq_length {said!r}; its tiles give {tokens}")
    return patches, tokens


def _fingerprint(processor: Mapping[str, Any], vision: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    facts = ["internvl", processor, vision, config.get("downsample_ratio"), config.get("image_seq_length")]
    return "internvl-" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _pair(value: Any) -> tuple[int, int]:
    height, width = value if isinstance(value, list) else (value, value)
    return int(height), int(width)
