"""Qwen3.5's vision encoder, as transformers' `Qwen3_5Model.get_image_features` computes it.

It is Qwen3-VL's (arXiv 2511.21631) without DeepStack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3_5Config, Qwen3_5MoeConfig
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5VisionBlock, Qwen3_5VisionModel
from transformers.models.qwen3_5_moe.modeling_qwen3_5_moe import (
    Qwen3_5MoeVisionBlock,
    Qwen3_5MoeVisionModel,
)

from kernels.blocks import Body
from service.checkpoint.files import read_json
from service.families.native.tower import NativeTower, Spec, choose_native_body, load_native, read_config
from service.families.qwen3_vl.tower import spec
from service.families.towers import TowerChoice

_CLASSES: dict[str, tuple[Any, Any, Any]] = {
    "qwen3_5": (Qwen3_5Config, Qwen3_5VisionModel, Qwen3_5VisionBlock),
    "qwen3_5_moe": (Qwen3_5MoeConfig, Qwen3_5MoeVisionModel, Qwen3_5MoeVisionBlock),
}
"""Configuration, tower and block, by the model_type of config.json."""


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    return choose_native_body(_spec(folder), device, requested)


def load(folder: Path, choice: TowerChoice) -> NativeTower:
    """Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either."""
    return load_native(folder, choice, _spec(folder))


def _spec(folder: Path) -> Spec:
    kind, model, block = _CLASSES[read_json(folder / "config.json")["model_type"]]
    return spec(folder, read_config(folder, kind, "Qwen3.5"), model, block, levels={})
