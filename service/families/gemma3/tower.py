"""Gemma 3's vision encoder: uint8 tiles to soft tokens, as transformers' `Gemma3Model.get_image_features` does.

SigLIP, whose patches are averaged in squares in front of an RMSNorm and one matrix, which are `kernels.project`.
"""

from __future__ import annotations

from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3Config

from kernels.blocks import Body
from kernels.project import FoldedProjector, Linear, Norm, fold_projector
from service.checkpoint.files import STANDARD, read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.families.backbones import siglip
from service.families.gemma3.names import own_name
from service.families.tile_tower import (
    Neck,
    ViTTower,
    average,
    choose_tile_body,
    load_trunk,
    read_model_config,
)
from service.families.towers import TowerChoice


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    vision = read_model_config(folder, Gemma3Config, "Gemma 3's").vision_config
    return choose_tile_body(siglip, vision, device=device, dtype=dtype, requested=requested)


def load(folder: Path, choice: TowerChoice) -> ViTTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and projector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = read_model_config(folder, Gemma3Config, "Gemma 3's")
    vision = config.vision_config
    tensors = TowerTensors(folder, own_name)
    trunk = load_trunk(
        tensors,
        "vision_tower",
        siglip,
        vision,
        choice,
        depths=[vision.num_hidden_layers],
        normalise=True,
        normalisation=read_normalisation(folder, STANDARD),
    )
    back = _back(tensors, config, choice)
    tensors.refuse_rest()
    pool = vision.image_size // vision.patch_size // isqrt(config.mm_tokens_per_image)
    neck = Neck(partial(average, pool=pool), config.mm_tokens_per_image)
    return ViTTower(trunk, back, choice, tile=vision.image_size, neck=neck)


def _back(tensors: TowerTensors, config: Any, choice: TowerChoice) -> FoldedProjector:
    hidden, width = config.vision_config.hidden_size, config.text_config.hidden_size
    # a Gemma RMSNorm multiplies with one more than its weight
    weight = 1 + tensors.take("multi_modal_projector.mm_soft_emb_norm.weight", (hidden,)).float()
    matrix = tensors.take("multi_modal_projector.mm_input_projection_weight", (hidden, width))
    return fold_projector(
        (Linear(matrix.T),),
        norm=Norm("rms", "row", weight, None, eps=config.vision_config.layer_norm_eps),
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )
