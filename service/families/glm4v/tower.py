"""GLM-4.1V's vision encoder, as transformers' `Glm4vModel.get_image_features` computes it, and that of GLM-4.5V.

Between patch embedding and blocks stand an RMSNorm and a table of positions, resampled to each image's grid; every
patch sees its whole image. Paper: GLM-V Team 2025, arXiv:2507.01006.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import Glm4vConfig, Glm4vMoeConfig
from transformers.models.glm4v.modeling_glm4v import Glm4vVisionBlock, Glm4vVisionModel
from transformers.models.glm4v_moe.modeling_glm4v_moe import Glm4vMoeVisionBlock, Glm4vMoeVisionModel

from kernels.blocks import Body
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed
from kernels.varlen import PackedSequence, VarlenBlocks, choose_way, read_layer
from service.checkpoint.files import read_json, read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.families.glm4v.merger import load_merger
from service.families.glm4v.positions import resample
from service.families.native.names import own_name
from service.families.native.steps import ModuleBlocks, Step, SteppedLayers, straight
from service.families.native.tower import (
    NativeTower,
    choose_packed_body,
    must_divide_heads,
    must_fit_language_model,
    read_config,
)
from service.families.towers import TowerChoice, in_precision

_CLASSES: dict[str, tuple[Any, Any, Any]] = {
    "glm4v": (Glm4vConfig, Glm4vVisionModel, Glm4vVisionBlock),
    "glm4v_moe": (Glm4vMoeConfig, Glm4vMoeVisionModel, Glm4vMoeVisionBlock),
}
"""Configuration, tower and block, by the model_type of config.json."""


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    _, _, block = _classes(folder)
    with torch.device("meta"):
        layer = block(_config(folder))
    return choose_packed_body(layer, device, requested)


def load(folder: Path, choice: TowerChoice) -> NativeTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and merger.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config, tensors = _config(folder), TowerTensors(folder, own_name)
    front = _front(tensors, config, folder, choice)
    before = _before(tensors, config, choice)
    blocks = _blocks(tensors, config, _classes(folder)[1], choice)
    back = load_merger(tensors, config, choice)
    tensors.refuse_rest()
    layers = SteppedLayers(before, straight(blocks, back), config.spatial_merge_size, choice.device)
    return NativeTower(front, layers, choice, width=back.width, merge=config.spatial_merge_size)


def _classes(folder: Path) -> tuple[Any, Any, Any]:
    return _CLASSES[read_json(folder / "config.json")["model_type"]]


def _config(folder: Path) -> Any:
    """The tower's part of config.json. Raises ConfigurationError."""
    whole = read_config(folder, _classes(folder)[0], "GLM-4.1V")
    must_divide_heads(folder, "hidden_size", whole.vision_config)
    must_fit_language_model(folder, "out_hidden_size", whole)
    return whole.vision_config


def _front(tensors: TowerTensors, config: Any, folder: Path, choice: TowerChoice) -> FoldedPatchEmbed:
    mean, std = read_normalisation(folder)
    shape = config.hidden_size, 3, config.temporal_patch_size, config.patch_size, config.patch_size
    weight = tensors.take("patch_embed.proj.weight", shape)
    bias = tensors.take("patch_embed.proj.bias", (config.hidden_size,))
    return fold_patch_embed(weight, bias, mean, std, None, None, dtype=choice.dtype, device=choice.device)


def _before(tensors: TowerTensors, config: Any, choice: TowerChoice) -> Step:
    hidden = config.hidden_size
    norm = tensors.take("post_conv_layernorm.weight", (hidden,)).to(choice.device, choice.dtype)
    side = config.image_size // config.patch_size
    table = tensors.take("embeddings.position_embedding.weight", (side * side, hidden))
    table = table.to(choice.device, torch.float32).view(side, side, hidden)

    def before(patches: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
        normed = F.rms_norm(patches, (hidden,), norm, config.rms_norm_eps)
        return normed.add_(resample(table, sequence))

    return before


def _blocks(tensors: TowerTensors, config: Any, model: Any, choice: TowerChoice) -> Step:
    with torch.device("meta"):
        made = model._from_config(config, attn_implementation="sdpa")
    layers = made.blocks
    if choice.ours:
        tensors.fill(layers, "blocks", torch.device("cpu"), choice.dtype)  # ours are copies
        return VarlenBlocks(
            [read_layer(layer) for layer in layers],
            range(len(layers)),
            choice.dtype,
            choice.device,
            way=choose_way(choice.body, choice.one_call),
            precision=choice.precision,
        )
    tensors.fill(layers, "blocks", choice.device, choice.dtype)
    in_precision(layers, choice)
    # its frequencies are computed, not loaded, and on the meta device they were not
    rotary = type(made.rotary_pos_emb)(config).to(choice.device)

    def run(image: torch.Tensor, rotations: tuple[torch.Tensor, ...]) -> torch.Tensor:
        ends = torch.tensor([0, len(image)], dtype=torch.int32, device=image.device)
        for layer in layers:
            image = layer(image, cu_seqlens=ends, position_embeddings=rotations)
        return image

    return ModuleBlocks(rotary, run)
