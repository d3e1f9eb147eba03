"""Qwen2.5-VL's vision encoder, as transformers' `Qwen2_5_VLModel.get_image_features` computes it.

RMSNorm and a gated MLP; most layers attend within windows. Paper: Qwen2.5-VL (arXiv 2502.13923).
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionBlock,
)

from kernels.blocks import Body
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
from service.families.towers import TowerChoice


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    return choose_native_body(_spec(folder), device, requested)


def load(folder: Path, choice: TowerChoice) -> NativeTower:
    """Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either."""
    return load_native(folder, choice, _spec(folder))


def _spec(folder: Path) -> Spec:
    whole = read_config(folder, Qwen2_5_VLConfig, "Qwen2.5-VL")
    config = whole.vision_config
    must_divide_heads(folder, "hidden_size", config)
    cell = config.spatial_merge_size * config.patch_size
    if config.window_size < cell:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has window_size {config.window_size}; needed are at least the {cell} "
            "pixels of a soft token"
        )
    must_fit_language_model(folder, "out_hidden_size", whole)
    return Spec(
        model=Qwen2_5_VisionTransformerPretrainedModel,
        block=Qwen2_5_VLVisionBlock,
        config=config,
        hidden=config.hidden_size,
        width=config.out_hidden_size,
        merger=Merger("merger", "ln_q", ("mlp.0", "mlp.2"), "rms"),
        window=config.window_size // config.spatial_merge_size // config.patch_size,
        whole=config.fullatt_block_indexes,
    )
