"""What a checkpoint's files say about its geometry, checked against each other. Standard library only.

Takes config.json as the hub has it, flat, and as transformers 5 writes it, with a text_config: nothing of the language
model is read. Bounds on pixels are `size` or, before it, `min_pixels` and `max_pixels`, which win.
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
from service.families.native.resize import MAX_RATIO

_SHAPE = {
    "patch_size": ("patch_size", 14),
    "merge_size": ("spatial_merge_size", 2),
    "temporal_patch_size": ("temporal_patch_size", 2),
}
"""Names in the image processor: names in vision_config, and what the processor has where it says nothing."""
_SIZE = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
"""In pixels, whatever the names say; of transformers' Qwen2VLImageProcessor."""
_TOKEN_NAMES = {
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_pad": "<|vision_pad|>",
}


def read_facts(
    folder: Path,
    family: str,
    architecture: str,
    patch: int,
    *,
    tokens: Mapping[str, str] = _TOKEN_NAMES,
    size: Mapping[str, int] = _SIZE,
) -> dict[str, Any]:
    """The fields of NativeGeometry. Raises ConfigurationError.

    `architecture`, `patch`, the texts of `tokens` and `size` are what the files may leave out.
    """
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    vision = read_object(config, "vision_config", folder / "config.json")
    must_process_as_we_do(processor, file)
    patch, merge, _ = _shape(processor, {"patch_size": patch, **vision}, file)
    fewest, most = _pixels(processor, size, file)
    names, ids = read_tokens(folder, tokens, ("image_token",))
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    return {
        "facts": FamilyFacts(
            family=family,
            architecture=(config.get("architectures") or [architecture])[0],
            placeholders=tuple(names[name] for name in names if name in ids),
            fingerprint=_fingerprint(family, processor, vision),
            max_ratio=MAX_RATIO,
            independent_tiles=False,  # a cell's patches attend to the whole image's
        ),
        "patch": patch,
        "merge": merge,
        "min_pixels": fewest,
        "max_pixels": most,
        "image_token": ids["image_token"],
    }


def _shape(processor: Mapping[str, Any], vision: Mapping[str, Any], file: Path) -> list[int]:
    """Pixels on a side of a patch, patches on a side of a cell, frames of a patch."""
    shape = []
    for ours, (theirs, default) in _SHAPE.items():
        cut, seen = processor.get(ours, default), vision.get(theirs, default)
        if cut != seen or not is_count(cut):
            raise ConfigurationError(
                f"model: {file} has {ours} {cut!r} and vision_config.{theirs} is {seen!r}; needed is one whole number "
                "above 0 in both"
            )
        shape.append(cut)
    return shape


def _pixels(processor: Mapping[str, Any], default: Mapping[str, int], file: Path) -> tuple[int, int]:
    """Fewest and most pixels of a resized image."""
    size: Any = default if processor.get("size") is None else processor["size"]
    if not isinstance(size, dict):
        raise ConfigurationError(
            f"model: {file} has size {size!r}; needed are shortest_edge and longest_edge in pixels"
        )
    fewest, most = (
        size.get(edge) if processor.get(name) is None else processor[name]
        for edge, name in (("shortest_edge", "min_pixels"), ("longest_edge", "max_pixels"))
    )
    if not (is_count(fewest) and is_count(most) and fewest <= most):
        raise ConfigurationError(
            f"model: {file} brings images to {fewest!r} to {most!r} pixels (size {processor.get('size')!r}, min_pixels "
            f"{processor.get('min_pixels')!r}, max_pixels {processor.get('max_pixels')!r}); needed are whole numbers "
            "with 1 ≤ shortest_edge (min_pixels) ≤ longest_edge (max_pixels)"
        )
    return fewest, most


def _fingerprint(family: str, processor: Mapping[str, Any], vision: Mapping[str, Any]) -> str:
    facts = [family, processor, vision]
    return f"{family}-" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
