"""Pixtral's vision encoder and both its projectors: cells of images of any sizes to soft tokens, in one packed forward.

Does what `get_image_features` of transformers' `Mistral3Model` does, and of its `LlavaModel` with this tower. Mistral 3
merges a cell's patches by a product of its own, in front of the MLP that both have. Paper: Agrawal et al. 2024,
arXiv:2410.07073.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import LlavaConfig, Mistral3Config
from transformers.models.pixtral.modeling_pixtral import PixtralAttentionLayer

from kernels.blocks import Body
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed
from kernels.varlen import PackedSequence
from service.checkpoint.files import read_json, read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.errors import ConfigurationError
from service.families.llava.names import own_name
from service.families.native.steps import SteppedLayers, straight
from service.families.native.tower import NativeTower, choose_packed_body
from service.families.pixtral.blocks import load_blocks
from service.families.pixtral.projector import load_projector
from service.families.towers import TowerChoice

_KINDS: dict[str, Any] = {"mistral3": Mistral3Config, "llava": LlavaConfig}
_EPS = 1e-5
"""Of the norm in front of the blocks, as transformers' model has it; no configuration says it."""


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    with torch.device("meta"):
        layer = PixtralAttentionLayer(_config(folder).vision_config)
    return choose_packed_body(layer, device, requested)


def load(folder: Path, choice: TowerChoice) -> NativeTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and projector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = _config(folder)
    vision, merge = config.vision_config, getattr(config, "spatial_merge_size", 1)
    tensors = TowerTensors(folder, own_name)
    front = _front(tensors, vision, folder, choice)
    norm = tensors.take("vision_tower.ln_pre.weight", (vision.hidden_size,)).to(choice.device, choice.dtype)
    back = load_projector(tensors, config, folder, choice)
    blocks = load_blocks(tensors, vision, _depth(config, folder), choice)
    tensors.refuse_rest()

    def before(hidden: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
        return F.rms_norm(hidden, hidden.shape[-1:], norm, _EPS)

    layers = SteppedLayers(before, straight(blocks, back), merge, choice.device)
    return NativeTower(front, layers, choice, width=back.width, merge=merge)


def _front(tensors: TowerTensors, vision: Any, folder: Path, choice: TowerChoice) -> FoldedPatchEmbed:
    mean, std = read_normalisation(folder)
    shape = vision.hidden_size, 3, vision.patch_size, vision.patch_size
    weight = tensors.take("vision_tower.patch_conv.weight", shape)
    return fold_patch_embed(weight, None, mean, std, None, None, dtype=choice.dtype, device=choice.device)


def _config(folder: Path) -> Any:
    """config.json as transformers' class of its model_type has it. Raises ConfigurationError."""
    file = folder / "config.json"
    try:
        config = _KINDS[read_json(file)["model_type"]].from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever transformers' validation makes of the file
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"model: {file} is not Pixtral's: {reason}") from None
    vision = config.vision_config
    if (kind := vision.model_type) != "pixtral":
        raise ConfigurationError(
            f"model: {file} has a vision_config of model_type {kind!r}; needed is 'pixtral'"
        )
    if vision.num_channels != 3:
        raise ConfigurationError(f"model: {file} has num_channels {vision.num_channels}; needed are 3")
    if vision.hidden_size % (4 * vision.num_attention_heads):
        raise ConfigurationError(
            f"model: {file} has hidden_size {vision.hidden_size} and num_attention_heads {vision.num_attention_heads}; "
            "each head needs a multiple of four"
        )
    strategy = getattr(config, "vision_feature_select_strategy", "full")
    if strategy != "full":
        raise ConfigurationError(
            f"model: {file} has vision_feature_select_strategy {strategy!r}, which drops the first token, and a tower "
            "whose first token is a patch; needed is 'full'"
        )
    return config


def _depth(config: Any, folder: Path) -> int:
    """After how many layers hidden states are taken. Raises ConfigurationError."""
    layers, asked = config.vision_config.num_hidden_layers, config.vision_feature_layer
    numbers = [asked] if isinstance(asked, int) else list(asked or ())
    depths = [number if number >= 0 else layers + 1 + number for number in numbers]
    if len(depths) != 1 or not 1 <= depths[0] <= layers:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has vision_feature_layer {asked}; allowed is one number from {-layers} "
            f"to -1 or from 1 to {layers}"
        )
    return depths[0]
