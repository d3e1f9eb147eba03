"""Qwen2-VL's vision encoder, as transformers' `Qwen2VLModel.get_image_features` computes it.

LayerNorm and an MLP with quick GELU; every layer attends within the whole image. Paper: Qwen2-VL (arXiv 2409.12191).
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    Qwen2VLVisionBlock,
)

from kernels.blocks import Body
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
from service.families.towers import TowerChoice


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    return choose_native_body(_spec(folder), device, requested)


def load(folder: Path, choice: TowerChoice) -> NativeTower:
    """Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either."""
    return load_native(folder, choice, _spec(folder))


def _spec(folder: Path) -> Spec:
    whole = read_config(folder, Qwen2VLConfig, "Qwen2-VL")
    config = whole.vision_config
    must_divide_heads(folder, "embed_dim", config)
    must_fit_language_model(folder, "hidden_size", whole)
    return Spec(
        model=Qwen2VisionTransformerPretrainedModel,
        block=Qwen2VLVisionBlock,
        config=config,
        hidden=config.embed_dim,
        width=config.hidden_size,
        merger=Merger("merger", "ln_q", ("mlp.0", "mlp.2"), "layer"),
    )
