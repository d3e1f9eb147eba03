"""What a checkpoint's files say about InternVL's geometry, checked against each other.

Takes the configuration of both generations: preprocessor_config.json, and transformers 5's processor_config.json with
an `image_processor` inside, which wins. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.errors import ConfigurationError

_BICUBIC = 3
_TOKEN_NAMES = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_MOST_PATCHES = 1024
"""Grids are enumerated; InternVL itself was trained on 1 to 40."""


def read_facts(folder: Path) -> dict[str, Any]:
    """The fields of InternVLGeometry. Raises ConfigurationError."""
    config = _json(folder / "config.json")
    processor, file = _image_processor(folder)
    vision = _object(config, "vision_config", folder / "config.json")
    _must_process_as_we_do(processor, file)
    tile_height, tile_width = _tile(processor, vision, file)
    patches, rows = _per_tile(config, vision, tile_height, tile_width, folder)
    fewest, most = processor.get("min_patches", 1), processor.get("max_patches", 12)
    if not (_is_count(fewest) and _is_count(most) and fewest <= most <= _MOST_PATCHES):
        raise ConfigurationError(
            f"model: {file} has min_patches {fewest!r} and max_patches {most!r}; needed are whole numbers with "
            f"1 ≤ min_patches ≤ max_patches ≤ {_MOST_PATCHES}"
        )
    names, ids = _tokens(folder, config)
    return {
        "architecture": (config.get("architectures") or ["InternVLForConditionalGeneration"])[0],
        "tile_width": tile_width,
        "tile_height": tile_height,
        "patches_per_tile": patches,
        "rows_per_tile": rows,
        "min_patches": fewest,
        "max_patches": most,
        "start_token": ids["start_image_token"],
        "context_token": ids["context_image_token"],
        "end_token": ids["end_image_token"],
        "placeholders": tuple(names[name] for name in names if name in ids),
        "fingerprint": _fingerprint(processor, vision, config),
    }


def _image_processor(folder: Path) -> tuple[dict[str, Any], Path]:
    """The image processor's fields and the file that holds them; the order is transformers'."""
    nested, plain = folder / "processor_config.json", folder / "preprocessor_config.json"
    if nested.is_file() and isinstance(found := _json(nested).get("image_processor"), dict):
        return found, nested
    if plain.is_file():
        return _json(plain), plain
    raise ConfigurationError(
        f"model: {folder} has neither {plain.name} nor an image_processor in {nested.name}"
    )


def _must_process_as_we_do(processor: Mapping[str, Any], file: Path) -> None:
    """Our tiling resizes with bicubic, and the tower's first kernel scales and normalises bytes."""
    expected = {
        "resample": _BICUBIC,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
    }
    for name, value in expected.items():
        if (got := processor.get(name, value)) != value:
            raise ConfigurationError(f"model: {file} has {name} = {got!r}; only {value!r} is supported")
    if not math.isclose(processor.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-4):
        raise ConfigurationError(
            f"model: {file} has rescale_factor = {processor['rescale_factor']!r}; only 1/255 is supported"
        )


def _tile(processor: Mapping[str, Any], vision: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """(height, width) of a tile in pixels."""
    size = processor.get("size")
    if not isinstance(size, dict) or not all(_is_count(size.get(side)) for side in ("height", "width")):
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
    rows = patches // shuffle**2
    processor = folder / "processor_config.json"
    for file, given in (
        (folder / "config.json", config),
        (processor, _json(processor) if processor.is_file() else {}),
    ):
        if (said := given.get("image_seq_length", rows)) != rows:
            raise ConfigurationError(f"model: {file} has image_seq_length {said!r}; its tiles give {rows}")
    return patches, rows


def _tokens(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, int]]:
    """Texts and ids of the vision tokens by the tokenizer's names for them."""
    settings = folder / "tokenizer_config.json"
    given = _json(settings) if settings.is_file() else {}
    given = {**given, **(given.get("extra_special_tokens") or {})}
    names = {name: _text(given.get(name), default) for name, default in _TOKEN_NAMES.items()}
    file = folder / "tokenizer.json"
    tokenizer = _json(file)
    vocabulary = dict(_object(tokenizer, "model", file).get("vocab") or {})
    vocabulary |= {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    ids = {name: vocabulary[text] for name, text in names.items() if text in vocabulary}
    for name in ("start_image_token", "end_image_token", "context_image_token"):
        if name not in ids:
            raise ConfigurationError(f"model: {file} has no token {names[name]!r} ({name})")
    if config.get("image_token_id", ids["context_image_token"]) != ids["context_image_token"]:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has image_token_id {config['image_token_id']} and {file.name} gives "
            f"{names['context_image_token']} the id {ids['context_image_token']}"
        )
    return names, ids


def _fingerprint(processor: Mapping[str, Any], vision: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    facts = ["internvl", processor, vision, config.get("downsample_ratio"), config.get("image_seq_length")]
    return "internvl-" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"model: {file.parent} has no {file.name}") from None
    except ValueError:
        raise ConfigurationError(f"model: {file} is not JSON") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"model: {file} holds no JSON object")
    return value


def _object(of: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    if not isinstance(value := of.get(name), dict):
        raise ConfigurationError(f"model: {file} has no {name}")
    return value


def _pair(value: Any) -> tuple[int, int]:
    height, width = value if isinstance(value, list) else (value, value)
    return int(height), int(width)


def _text(token: Any, default: str) -> str:
    """A token's text; older tokenizers save it as an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else default


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
