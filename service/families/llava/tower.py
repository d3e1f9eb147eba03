"""LLaVA's vision encoder: uint8 tiles to soft tokens, as transformers' `LlavaModel.get_image_features` does.

CLIP or SigLIP, whose hidden states are taken after one or several layers, in front of an MLP. Paper: Liu et al. 2023
(arXiv 2310.03744).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaConfig

from kernels.blocks import Body
from kernels.project import ACTIVATIONS, FoldedProjector, Linear, fold_projector
from service.checkpoint.files import read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.errors import ConfigurationError
from service.families.backbones import BACKBONES
from service.families.llava.files import PREFIX_TOKENS
from service.families.llava.names import own_name
from service.families.tile_tower import ViTTower, choose_tile_body, load_trunk, read_model_config
from service.families.towers import TowerChoice


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    vision = read_config(folder, LlavaConfig).vision_config
    return choose_tile_body(
        BACKBONES[vision.model_type], vision, device=device, dtype=dtype, requested=requested
    )


def load(folder: Path, choice: TowerChoice) -> ViTTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and projector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    tensors = TowerTensors(folder, own_name)
    tower = load_with(tensors, read_config(folder, LlavaConfig), folder, choice)
    tensors.refuse_rest()
    return tower


def load_with(
    tensors: TowerTensors, config: Any, folder: Path, choice: TowerChoice, newline: torch.Tensor | None = None
) -> ViTTower:
    """The tower of a LLaVA of either kind; `newline`: [width], its one constant row. Raises ConfigurationError."""
    vision = config.vision_config
    depths = _depths(config, folder)
    trunk = load_trunk(
        tensors,
        "vision_tower",
        BACKBONES[vision.model_type],
        vision,
        choice,
        depths=depths,
        normalise=False,
        normalisation=read_normalisation(folder),
    )
    back = _back(tensors, config, folder, len(depths) * vision.hidden_size, choice)
    constants = None if newline is None else newline.to("cpu", choice.dtype)[None]
    return ViTTower(trunk, back, choice, tile=vision.image_size, constants=constants)


def read_config(folder: Path, kind: Any) -> Any:
    """config.json as transformers' class `kind` has it. Raises ConfigurationError."""
    config = read_model_config(folder, kind, "LLaVA's")
    if (found := config.vision_config.model_type) not in PREFIX_TOKENS:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has a vision_config of model_type {found!r}; LLaVA's towers here are "
            f"{' and '.join(PREFIX_TOKENS)}"
        )
    return config


def _depths(config: Any, folder: Path) -> Sequence[int]:
    """After how many layers hidden states are taken, to stand side by side in this order."""
    layers, asked = config.vision_config.num_hidden_layers, config.vision_feature_layer
    numbers = [asked] if isinstance(asked, int) else list(asked or ())
    depths = [number if number >= 0 else layers + 1 + number for number in numbers]
    if not depths or not all(0 <= depth <= layers for depth in depths):
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has vision_feature_layer {asked}; allowed are numbers from {-layers - 1} "
            f"to {layers}"
        )
    return depths


def _back(
    tensors: TowerTensors, config: Any, folder: Path, inputs: int, choice: TowerChoice
) -> FoldedProjector:
    """https://arxiv.org/abs/2310.03744: Linear, GELU, Linear."""
    activation = config.projector_hidden_act
    if activation not in ACTIVATIONS:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has projector_hidden_act {activation!r}; "
            f"supported are {', '.join(ACTIVATIONS)}"
        )
    width = config.text_config.hidden_size

    def linear(name: str, inputs: int) -> Linear:
        weight = tensors.take(f"multi_modal_projector.{name}.weight", (width, inputs))
        bias = (
            tensors.take(f"multi_modal_projector.{name}.bias", (width,))
            if config.multimodal_projector_bias
            else None
        )
        return Linear(weight, bias)

    drops = config.vision_feature_select_strategy == "default"
    return fold_projector(
        (linear("linear_1", inputs), linear("linear_2", width)),
        activation=activation,
        norm=None,
        merge=None,
        skip=PREFIX_TOKENS[config.vision_config.model_type] if drops else 0,
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )
