"""What Qwen3-VL's config.json says of its tower, and leaves to transformers' Qwen3VLVisionConfig. Standard library
only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.checkpoint.files import is_count, read_json, read_object
from service.errors import ConfigurationError

SIZES = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "patch_size": 16}
_LEVELS = (8, 16, 24)


def vision_sizes(vision: Mapping[str, Any]) -> Mapping[str, Any]:
    """See `Family.vision_sizes`."""
    return {**SIZES, **vision}


def read_levels(folder: Path) -> tuple[int, ...]:
    """The layers whose hidden states DeepStack hands to the first layers of the language model, in ascending order.

    Raises ConfigurationError.
    """
    file = folder / "config.json"
    vision = vision_sizes(read_object(read_json(file), "vision_config", file))
    levels, depth = vision.get("deepstack_visual_indexes", _LEVELS), vision["depth"]
    if not (
        isinstance(levels, list | tuple)
        and is_count(depth)
        and all(isinstance(level, int) and 0 <= level < depth for level in levels)
        and sorted(set(levels)) == list(levels)
    ):
        raise ConfigurationError(
            f"model: {file} has deepstack_visual_indexes {levels!r} and depth {depth!r}; needed are numbers of layers, "
            "from 0, in ascending order"
        )
    return tuple(levels)
