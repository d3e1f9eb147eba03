"""LLaVA-NeXT's vision encoder: LLaVA's, and one constant row, the learned newline behind each line of an image.

Where rows of tiles and newlines go is the plan's token map, not the tower's work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlavaNextConfig

from kernels.blocks import Body
from service.checkpoint.tensors import TowerTensors
from service.errors import ConfigurationError
from service.families.backbones import BACKBONES
from service.families.llava.names import own_name
from service.families.llava.tower import load_with, read_config
from service.families.tile_tower import ViTTower, choose_tile_body
from service.families.towers import TowerChoice


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    vision = read_config(folder, LlavaNextConfig).vision_config
    return choose_tile_body(
        BACKBONES[vision.model_type], vision, device=device, dtype=dtype, requested=requested
    )


def load(folder: Path, choice: TowerChoice) -> ViTTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower, projector and newline.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    return load_with_newline(folder, choice, read_config(folder, LlavaNextConfig))


def load_with_newline(folder: Path, choice: TowerChoice, config: Any) -> ViTTower:
    """The tower of a LLaVA with a learned newline; `config` as transformers has it. Raises ConfigurationError."""
    tensors = TowerTensors(folder, own_name)
    newline = tensors.take("image_newline", (config.text_config.hidden_size,))
    if not newline.isfinite().all():
        raise ConfigurationError(f"model: image_newline in {folder} has numbers that are not finite")
    tower = load_with(tensors, config, folder, choice, newline)
    tensors.refuse_rest()
    return tower
