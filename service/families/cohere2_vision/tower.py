"""Command A Vision's vision encoder: uint8 tiles to soft tokens, as transformers' `get_image_features` does.

SigLIP in front of pixel shuffle and a gated MLP (SwiGLU: Shazeer 2020, arXiv:2002.05202): two products that are
`kernels.project`, with `kernels.activation` in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Cohere2VisionConfig

from kernels.activation import activate
from kernels.backend import Backend
from kernels.blocks import Body
from kernels.project import FoldedProjector, Linear, Merge, fold_projector, project
from service.checkpoint.files import read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.errors import ConfigurationError
from service.families.backbones import siglip
from service.families.gemma3.names import own_name
from service.families.tile_tower import Neck, ViTTower, choose_tile_body, load_trunk, read_model_config
from service.families.towers import TowerChoice


@dataclass(frozen=True, slots=True, eq=False)
class GatedUp:
    """Pixel shuffle and the first, wide half of the projector."""

    up: FoldedProjector
    """Its columns are the gate, then what is gated."""
    backend: Backend

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """[tiles, patches, hidden] → [tiles, soft tokens, intermediate / 2]"""
        both = project(hidden, self.up, backend=self.backend)  # [tiles · soft tokens, intermediate]
        inner = activate(both, "silu", gated=True, backend=self.backend)
        return torch.unflatten(inner, 0, (len(hidden), -1))


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
    vision, merge = config.vision_config, Merge(config.downsample_factor)
    tensors = TowerTensors(folder, own_name)
    trunk = load_trunk(
        tensors,
        "vision_tower",
        siglip,
        vision,
        choice,
        depths=[vision.num_hidden_layers],
        normalise=True,
        normalisation=read_normalisation(folder),
    )
    up = _fold(_gate_first(tensors, config, vision.hidden_size * merge.parts), choice, merge)
    inner, width = config.alignment_intermediate_size // 2, config.text_config.hidden_size
    back = _fold(_linear(tensors, "linear_2", width, inner), choice)
    tensors.refuse_rest()
    soft_tokens = merge.rows((vision.image_size // vision.patch_size) ** 2)
    neck = Neck(GatedUp(up, choice.backend), soft_tokens)
    return ViTTower(trunk, back, choice, tile=vision.image_size, neck=neck)


def _config(folder: Path) -> Any:
    config = read_model_config(folder, Cohere2VisionConfig, "Command A Vision's")
    if (wide := config.alignment_intermediate_size) % 2:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has alignment_intermediate_size {wide}; needed is an even number, of "
            "which one half is the gate of the other"
        )
    return config


def _gate_first(tensors: TowerTensors, config: Any, inputs: int) -> Linear:
    """The first layer, whose second half is the gate in the checkpoint."""
    stored = _linear(tensors, "linear_1", config.alignment_intermediate_size, inputs)
    assert stored.bias is not None
    weight, bias = (torch.cat(part.chunk(2)[::-1]) for part in (stored.weight, stored.bias))
    return Linear(weight, bias)


def _linear(tensors: TowerTensors, name: str, outputs: int, inputs: int) -> Linear:
    return Linear(
        tensors.take(f"multi_modal_projector.{name}.weight", (outputs, inputs)),
        tensors.take(f"multi_modal_projector.{name}.bias", (outputs,)),
    )


def _fold(linear: Linear, choice: TowerChoice, merge: Merge | None = None) -> FoldedProjector:
    return fold_projector(
        (linear,), merge=merge, dtype=choice.dtype, device=choice.device, backend=choice.backend
    )
