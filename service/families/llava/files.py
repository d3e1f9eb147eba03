"""What a checkpoint's files say about LLaVA's geometry, checked against each other. Standard library only.

LLaVA-1.5 and LLaVA-NeXT have the same towers, projector and files; the fields of their image processors differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.checkpoint.files import (
    BICUBIC,
    BILINEAR,
    is_count,
    must_name_image_token,
    must_process_as_we_do,
    read_image_processor,
    read_json,
    read_object,
    read_tokens,
)
from service.domain import Filter
from service.errors import ConfigurationError
from service.families.base import FamilyFacts

PREFIX_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}
"""Tokens in front of the patches, by the tower's model_type: a class token or none."""
_FILTERS = {BICUBIC: Filter.BICUBIC, BILINEAR: Filter.BILINEAR}
MAX_RATIO = 200.0
"""Of an image's longer side to its shorter one. The processors have no bound, but bring the shorter side of a strip to
a tile's, so that its longer one would take any memory."""


@dataclass(frozen=True, slots=True)
class Files:
    """What both families read. Sides in pixels."""

    processor: Mapping[str, Any]
    file: Path
    config: Mapping[str, Any]
    facts: FamilyFacts
    tile: int
    grid: int
    """Patches on a side of a tile."""
    tokens: int
    """Soft tokens of a tile."""
    image_token: int
    filter: Filter


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the classes of a family's configuration have where config.json says nothing."""

    tower: str
    image_size: int
    patch_size: int
    strategy: str


LLAVA = Defaults("clip_vision_model", 336, 14, "default")


def read_files(
    folder: Path,
    family: str,
    architecture: str,
    fields: Collection[str] = (),
    defaults: Defaults = LLAVA,
) -> Files:
    """`fields`: those of config.json that decide this family's pixels and tokens too. Raises ConfigurationError."""
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    must_process_as_we_do(processor, file, resamples=_FILTERS, ignored=("do_center_crop", "do_pad"))
    vision = read_object(config, "vision_config", folder / "config.json")
    tile, grid, tokens = _tile(config, vision, folder / "config.json", defaults)
    names, ids = read_tokens(folder, {"image_token": "<image>"}, ("image_token",))
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    decisive = [family, processor, vision, *(config.get(name) for name in (*_DECISIVE, *fields))]
    return Files(
        processor=processor,
        file=file,
        config=config,
        facts=FamilyFacts(
            family=family,
            architecture=(config.get("architectures") or [architecture])[0],
            placeholders=(names["image_token"],),
            fingerprint=f"{family}-"
            + hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
            max_ratio=MAX_RATIO,
        ),
        tile=tile,
        grid=grid,
        tokens=tokens,
        image_token=ids["image_token"],
        filter=_FILTERS[processor.get("resample", BICUBIC)],
    )


_DECISIVE = ("vision_feature_layer", "vision_feature_select_strategy")


def edge(size: Any, name: str, file: Path) -> int | tuple[int, int]:
    """The length to which an image's shorter side is brought, or (width, height) of all of it; `size` as processors
    have it."""
    if is_count(size):
        return size
    if isinstance(size, dict):
        if is_count(shortest := size.get("shortest_edge")):
            return shortest
        if is_count(width := size.get("width")) and is_count(height := size.get("height")):
            return width, height
    raise ConfigurationError(
        f"model: {file} has {name} {size!r}; needed is a shortest_edge, or height and width, in pixels"
    )


def _tile(
    config: Mapping[str, Any], vision: Mapping[str, Any], file: Path, defaults: Defaults
) -> tuple[int, int, int]:
    """(pixels, patches) on a side of a tile, and its soft tokens."""
    kind = vision.get("model_type", defaults.tower)
    if kind not in PREFIX_TOKENS:
        raise ConfigurationError(
            f"model: {file} has a vision_config of model_type {kind!r}; LLaVA's towers here are "
            f"{' and '.join(PREFIX_TOKENS)}"
        )
    side = vision.get("image_size", defaults.image_size)
    patch = vision.get("patch_size", defaults.patch_size)
    if not (is_count(side) and is_count(patch)) or side < patch:
        raise ConfigurationError(
            f"model: {file} has image_size {side!r} and patch_size {patch!r}; needed are whole numbers, and a patch no "
            "larger than the image"
        )
    strategy = config.get("vision_feature_select_strategy", defaults.strategy)
    prefix = PREFIX_TOKENS[kind]
    if strategy not in ("default", "full"):
        raise ConfigurationError(
            f"model: {file} has vision_feature_select_strategy {strategy!r}; allowed are 'default' and 'full'"
        )
    if strategy == "default" and not prefix:
        raise ConfigurationError(
            f"model: {file} has vision_feature_select_strategy 'default', which drops the first token, and a tower of "
            f"model_type {kind!r}, whose first token is a patch; needed is 'full'"
        )
    grid = side // patch
    return side, grid, grid * grid + (prefix if strategy == "full" else 0)
