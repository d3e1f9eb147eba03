"""What a checkpoint's files say about its geometry, checked against each other. Standard library only.

Bounds on pixels are `size` or, before it, `min_pixels` and `max_pixels`, which win. How many frames vision_config puts
into a patch is of no matter: the tower's convolution has none, and the hub says 2 there and 1 in the processor.
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

_PATCH, _MERGE = 14, 2
_MIN_PIXELS, _MAX_PIXELS = 384 * 384, 1536 * 1536
"""Of transformers' PaddleOCRVLImageProcessor, where the files say nothing."""
_TOKEN_NAMES = {
    "image_start": "<|IMAGE_START|>",
    "image_end": "<|IMAGE_END|>",
    "image_token": "<|IMAGE_PLACEHOLDER|>",
    "image_separator": "<|IMAGE_SEP|>",
    "image_pad": "<|image_pad|>",
    "video_token": "<|video_pad|>",
}


def read_facts(folder: Path) -> dict[str, Any]:
    """The fields of PaddleOCRVLGeometry. Raises ConfigurationError."""
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    vision = read_object(config, "vision_config", folder / "config.json")
    must_process_as_we_do(processor, file)
    if (frames := processor.get("temporal_patch_size", 1)) != 1:
        raise ConfigurationError(f"model: {file} has temporal_patch_size {frames!r}; needed is 1")
    fewest, most = _bound(processor, "min", _MIN_PIXELS), _bound(processor, "max", _MAX_PIXELS)
    if not (is_count(fewest) and is_count(most) and fewest <= most):
        raise ConfigurationError(
            f"model: {file} brings images to at least {fewest!r} and at most {most!r} pixels; needed are whole numbers "
            "above 0, the first no larger than the second"
        )
    names, ids = read_tokens(folder, _TOKEN_NAMES, ("image_token",))
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    decisive = json.dumps(["paddleocr_vl", processor, vision], sort_keys=True)
    return {
        "facts": FamilyFacts(
            family="paddleocr_vl",
            architecture=(config.get("architectures") or ["PaddleOCRVLForConditionalGeneration"])[0],
            placeholders=tuple(names[name] for name in names if name in ids),
            fingerprint=f"paddleocr_vl-{hashlib.sha256(decisive.encode()).hexdigest()}",
            max_ratio=MAX_RATIO,
            independent_tiles=False,  # a cell's patches attend to the whole image's
        ),
        "patch": _agreed(file, processor.get("patch_size", _PATCH), vision, "patch_size", _PATCH),
        "merge": _agreed(file, processor.get("merge_size", _MERGE), vision, "spatial_merge_size", _MERGE),
        "min_pixels": fewest,
        "max_pixels": most,
        "image_token": ids["image_token"],
    }


def _agreed(file: Path, cut: Any, vision: Mapping[str, Any], name: str, default: int) -> int:
    """What the processor does and the tower sees. Raises ConfigurationError."""
    seen = vision.get(name, default)
    if cut != seen or not is_count(cut):
        raise ConfigurationError(
            f"model: {file} has {name.removeprefix('spatial_')} {cut!r} and vision_config.{name} is {seen!r}; needed "
            "is one whole number above 0 in both"
        )
    return cut


def _bound(processor: Mapping[str, Any], which: str, default: int) -> Any:
    """In pixels, whatever stands there."""
    if (told := processor.get(f"{which}_pixels")) is not None:
        return told
    size = processor.get("size")
    if size is None:
        return default
    edge = {"min": "shortest_edge", "max": "longest_edge"}[which]
    return size.get(edge) if isinstance(size, dict) else None
