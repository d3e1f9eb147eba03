"""Idefics3's vision encoder: uint8 tiles to soft tokens, as transformers' `Idefics3Model.get_image_features` does.

A SigLIP under another name, whose tiles here are always whole squares: then its positions, which transformers looks up
by fractions of the image, are those of the patches in their order. Pixel shuffle and one matrix are `kernels.project`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, SiglipVisionConfig

from kernels.blocks import Body
from kernels.project import FoldedProjector, Linear, Merge, fold_projector
from service.checkpoint.files import STANDARD, read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.families.backbones import siglip
from service.families.idefics3.names import own_name
from service.families.tile_tower import ViTTower, choose_tile_body, load_trunk, read_model_config
from service.families.towers import TowerChoice


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    vision = _vision(read_model_config(folder, AutoConfig, "Idefics3's"))
    return choose_tile_body(siglip, vision, device=device, dtype=dtype, requested=requested)


def load(folder: Path, choice: TowerChoice) -> ViTTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and connector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = read_model_config(folder, AutoConfig, "Idefics3's")
    vision = _vision(config)
    tensors = TowerTensors(folder, own_name)
    trunk = load_trunk(
        tensors,
        "vision_model",
        siglip,
        vision,
        choice,
        depths=[vision.num_hidden_layers],
        normalise=True,
        normalisation=read_normalisation(folder, STANDARD),
    )
    back = _back(tensors, config, choice)
    tensors.refuse_rest()
    return ViTTower(trunk, back, choice, tile=vision.image_size)


def _vision(config: Any) -> SiglipVisionConfig:
    return siglip.config_like(config.vision_config)


def _back(tensors: TowerTensors, config: Any, choice: TowerChoice) -> FoldedProjector:
    merge = Merge(config.scale_factor)
    inputs, width = config.vision_config.hidden_size * merge.parts, config.text_config.hidden_size
    weight = tensors.take("connector.modality_projection.proj.weight", (width, inputs))
    return fold_projector(
        (Linear(weight),),
        merge=merge,
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )
