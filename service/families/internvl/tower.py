"""InternVL's vision encoder: uint8 tiles to soft tokens, as transformers' `InternVLModel.get_image_features` does.

InternViT in front of pixel shuffle, LayerNorm and an MLP, which are `kernels.project`. Paper: InternVL 1.5
(arXiv 2404.16821).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import InternVLConfig

from kernels.blocks import Body
from kernels.project import ACTIVATIONS, FoldedProjector, Linear, Merge, Norm, fold_projector
from service.checkpoint.files import read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.errors import ConfigurationError
from service.families.backbones import intern_vit
from service.families.internvl.names import own_name
from service.families.tile_tower import ViTTower, choose_tile_body, load_trunk, read_model_config
from service.families.towers import TowerChoice


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    config = read_model_config(folder, InternVLConfig, "InternVL's").vision_config
    return choose_tile_body(intern_vit, config, device=device, dtype=dtype, requested=requested)


def load(folder: Path, choice: TowerChoice) -> ViTTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and projector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = read_model_config(folder, InternVLConfig, "InternVL's")
    tile, shuffle, depth = _square(config, folder), _shuffle(config, folder), _depth(config, folder)
    tensors = TowerTensors(folder, own_name)
    trunk = load_trunk(
        tensors,
        "vision_tower",
        intern_vit,
        config.vision_config,
        choice,
        depths=[config.vision_config.num_hidden_layers if depth is None else depth],
        normalise=depth is None,  # hidden states that are taken on the way are not normalised
        normalisation=read_normalisation(folder),
    )
    tensors.drop("vision_tower.embeddings.mask_token")  # of pre-training
    back = _back(tensors, config, folder, Merge(shuffle), choice)
    tensors.refuse_rest()
    return ViTTower(trunk, back, choice, tile=tile)


def _square(config: Any, folder: Path) -> int:
    """The side of a tile in pixels; transformers' model takes a square grid of square patches."""
    (height, width), (patch, other) = config.vision_config.image_size, config.vision_config.patch_size
    if height != width or patch != other or height % patch:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has image_size {height}×{width} and patch_size {patch}×{other}; "
            "needed is a square of whole square patches"
        )
    if config.vision_config.num_channels != 3:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has num_channels {config.vision_config.num_channels}; needed are 3"
        )
    return int(height)


def _shuffle(config: Any, folder: Path) -> int:
    """How many patches a soft token takes together in each direction."""
    strategy, ratio = config.vision_feature_select_strategy, config.downsample_ratio
    if strategy != "default":
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has vision_feature_select_strategy {strategy!r}; only 'default' leaves "
            "a square grid to shuffle"
        )
    grid = config.vision_config.image_size[0] // config.vision_config.patch_size[0]
    factor = round(1 / ratio) if ratio > 0 else 0
    if not factor or factor * ratio != 1 or grid % factor:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has downsample_ratio {ratio}, which does not divide a grid of "
            f"{grid}×{grid} patches"
        )
    return factor


def _depth(config: Any, folder: Path) -> int | None:
    """After how many layers the hidden state is taken; None after all, and after the last norm."""
    layer, layers = config.vision_feature_layer, config.vision_config.num_hidden_layers
    if not isinstance(layer, int) or not -layers - 1 <= layer <= layers:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has vision_feature_layer {layer}; allowed is one of "
            f"{-layers - 1} to {layers}"
        )
    if layer == -1:
        return None
    return layer if layer >= 0 else layers + 1 + layer


def _back(
    tensors: TowerTensors,
    config: Any,
    folder: Path,
    merge: Merge,
    choice: TowerChoice,
) -> FoldedProjector:
    activation = config.projector_hidden_act
    if activation not in ACTIVATIONS:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has projector_hidden_act {activation!r}; "
            f"supported are {', '.join(ACTIVATIONS)}"
        )
    inputs, width = config.vision_config.hidden_size * merge.parts, config.text_config.hidden_size

    def take(name: str, *shape: int) -> torch.Tensor:
        return tensors.take(f"multi_modal_projector.{name}", shape)

    norm = Norm("layer", "row", take("layer_norm.weight", inputs), take("layer_norm.bias", inputs), eps=1e-5)
    first = Linear(take("linear_1.weight", width, inputs), take("linear_1.bias", width))
    second = Linear(take("linear_2.weight", width, width), take("linear_2.bias", width))
    return fold_projector(
        (first, second),
        activation=activation,
        norm=norm,
        merge=merge,
        skip=1,  # the class token
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )
