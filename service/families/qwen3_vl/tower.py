"""Qwen3-VL's vision encoder, as transformers' `Qwen3VLModel.get_image_features` computes it, DeepStack included.

LayerNorm, an MLP with GELU, a learned table of positions besides the rotary ones; every layer attends within the whole
image. Paper: Qwen3-VL (arXiv 2511.21631).
"""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLConfig, Qwen3VLMoeConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionBlock, Qwen3VLVisionModel
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import (
    Qwen3VLMoeVisionBlock,
    Qwen3VLMoeVisionModel,
)

from kernels.blocks import Body
from service.checkpoint.files import read_json
from service.errors import ConfigurationError
from service.families.native.tower import (
    Merger,
    NativeTower,
    Spec,
    choose_native_body,
    load_native,
    must_divide_heads,
    must_fit_language_model,
    read_config,
)
from service.families.qwen3_vl.files import read_levels
from service.families.towers import TowerChoice

_CLASSES: dict[str, tuple[Any, Any, Any]] = {
    "qwen3_vl": (Qwen3VLConfig, Qwen3VLVisionModel, Qwen3VLVisionBlock),
    "qwen3_vl_moe": (Qwen3VLMoeConfig, Qwen3VLMoeVisionModel, Qwen3VLMoeVisionBlock),
}
"""Configuration, tower and block, by the model_type of config.json."""
_LINEARS = "linear_fc1", "linear_fc2"


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    return choose_native_body(_spec(folder), device, requested)


def load(folder: Path, choice: TowerChoice) -> NativeTower:
    """Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either."""
    return load_native(folder, choice, _spec(folder))


def _spec(folder: Path) -> Spec:
    kind, model, block = _CLASSES[read_json(folder / "config.json")["model_type"]]
    levels = {
        layer: Merger(f"deepstack_merger_list.{number}", "norm", _LINEARS, "layer", per="row")
        for number, layer in enumerate(read_levels(folder))
    }
    return spec(folder, read_config(folder, kind, "Qwen3-VL"), model, block, levels)


def spec(folder: Path, whole: Any, model: Any, block: Any, levels: dict[int, Merger]) -> Spec:
    """Of transformers' configuration `whole` and its classes of the tower and its blocks. Raises ConfigurationError."""
    config = whole.vision_config
    must_divide_heads(folder, "hidden_size", config)
    must_fit_language_model(folder, "out_hidden_size", whole)
    positions = config.num_position_embeddings
    if positions < 1 or isqrt(positions) ** 2 != positions:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has num_position_embeddings {positions}; needed is a square number"
        )
    return Spec(
        model=model,
        block=block,
        config=config,
        hidden=config.hidden_size,
        width=config.out_hidden_size,
        merger=Merger("merger", "norm", _LINEARS, "layer"),
        bias=True,
        positions=positions,
        levels=levels,
    )
