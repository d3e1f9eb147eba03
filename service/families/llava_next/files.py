"""What a checkpoint's files say about LLaVA-NeXT's geometry, checked against each other. Standard library only.

LLaVA-OneVision's files have the same fields, with other values where they say nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from service.checkpoint.files import is_count
from service.errors import ConfigurationError
from service.families.llava.files import LLAVA, Defaults, Files, edge, read_files

Pinpoints = list[list[int]]
PINPOINTS: Pinpoints = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
"""(height, width) of the canvases where the files say nothing; of transformers' LlavaNextConfig."""


def read_facts(
    folder: Path,
    family: str = "llava_next",
    architecture: str = "LlavaNextForConditionalGeneration",
    *,
    defaults: Defaults = LLAVA,
    pinpoints: Pinpoints = PINPOINTS,
    fields: Collection[str] = (),
) -> dict[str, Any]:
    """The fields of LlavaNextGeometry. `defaults` and `pinpoints` are those of the family's classes; `fields` more
    fields of config.json that decide pixels and tokens. Raises ConfigurationError."""
    files = read_files(folder, family, architecture, ("image_grid_pinpoints", *fields), defaults)
    if files.tokens != files.grid**2:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has vision_feature_select_strategy 'full' and a tower with a class "
            "token, which has no place in the grid of patches; needed is 'default'"
        )
    processor, file = files.processor, files.file
    for name in ("size", "crop_size"):
        if (given := processor.get(name)) is not None and edge(given, name, file) not in (
            files.tile,
            (files.tile, files.tile),
        ):
            raise ConfigurationError(
                f"model: {file} has {name} {given!r}; the tower takes {files.tile}×{files.tile} pixels"
            )
    return {
        "facts": files.facts,
        "tile": files.tile,
        "grid": files.grid,
        "canvases": _canvases(files, folder, pinpoints),
        "image_token": files.image_token,
        "filter": files.filter,
    }


def _canvases(files: Files, folder: Path, default: Pinpoints) -> tuple[tuple[int, int], ...]:
    """(width, height) in the order in which the best one is looked for."""
    of_model = files.config.get("image_grid_pinpoints") or default
    of_processor = files.processor.get("image_grid_pinpoints") or default
    if of_model != of_processor:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has image_grid_pinpoints {of_model!r} and {files.file} has "
            f"{of_processor!r}; needed are the same"
        )
    canvases = []
    for pinpoint in of_model:
        if not (isinstance(pinpoint, list) and len(pinpoint) == 2 and all(map(is_count, pinpoint))) or any(
            side % files.tile for side in pinpoint
        ):
            raise ConfigurationError(
                f"model: {folder / 'config.json'} has an image_grid_pinpoint {pinpoint!r}; needed are height and width "
                f"in whole tiles of {files.tile} pixels"
            )
        canvases.append((pinpoint[1], pinpoint[0]))
    return tuple(canvases)
