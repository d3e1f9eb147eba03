"""The sizes of Qwen2-VL's tower, whose `hidden_size` is not the tower's width but a soft token's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WIDTH, _MLP_RATIO = 1280, 4
"""What transformers' Qwen2VLVisionConfig has where config.json says nothing."""


def vision_sizes(vision: Mapping[str, Any]) -> Mapping[str, Any]:
    """See `Family.vision_sizes`."""
    width = vision.get("embed_dim", _WIDTH)
    return {
        **vision,
        "hidden_size": width,
        "intermediate_size": width * vision.get("mlp_ratio", _MLP_RATIO),
    }
