"""PaliGemma's vision encoder: uint8 tiles to soft tokens, as transformers' `PaliGemmaModel.get_image_features` does.

SigLIP in front of one matrix, which is `kernels.project`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PaliGemmaConfig

from kernels.blocks import Body
from kernels.project import Linear, fold_projector
from service.checkpoint.files import STANDARD, read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.families.backbones import siglip
from service.families.gemma3.names import own_name
from service.families.tile_tower import ViTTower, choose_tile_body, load_trunk, read_model_config
from service.families.towers import TowerChoice


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    return choose_tile_body(
        siglip, _config(folder).vision_config, device=device, dtype=dtype, requested=requested
    )


def load(folder: Path, choice: TowerChoice) -> ViTTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and projector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = _config(folder)
    vision, width = config.vision_config, config.projection_dim
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
    linear = Linear(
        tensors.take("multi_modal_projector.linear.weight", (width, vision.hidden_size)),
        tensors.take("multi_modal_projector.linear.bias", (width,)),
    )
    tensors.refuse_rest()
    back = fold_projector(
        (linear,), norm=None, dtype=choice.dtype, device=choice.device, backend=choice.backend
    )
    return ViTTower(trunk, back, choice, tile=vision.image_size)


def _config(folder: Path) -> Any:
    return read_model_config(folder, PaliGemmaConfig, "PaliGemma's")
