"""LLaVA-OneVision's vision encoder: LLaVA-NeXT's with SigLIP. What is shrunk of its rows is the plan's token map."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlavaOnevisionConfig

from kernels.blocks import Body
from service.families.backbones import BACKBONES
from service.families.llava.tower import read_config
from service.families.llava_next.tower import load_with_newline
from service.families.tile_tower import ViTTower, choose_tile_body
from service.families.towers import TowerChoice


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    vision = read_config(folder, LlavaOnevisionConfig).vision_config
    return choose_tile_body(
        BACKBONES[vision.model_type], vision, device=device, dtype=dtype, requested=requested
    )


def load(folder: Path, choice: TowerChoice) -> ViTTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower, projector and newline.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    return load_with_newline(folder, choice, read_config(folder, LlavaOnevisionConfig))
