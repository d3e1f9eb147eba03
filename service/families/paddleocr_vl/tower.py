"""PaddleOCR-VL's vision encoder, as transformers' `PaddleOCRVLModel.get_image_features` computes it, but for how its
table of positions is read (`positions.py`).

A SigLIP for images of any size: the table is resampled to each image's grid, and queries and keys are turned by row and
column besides. The last norm is followed by the projector's own, which is folded into its first layer. Paper: Cui et
al. 2025, arXiv:2510.14528.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PaddleOCRVLConfig

from kernels.blocks import Body
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed
from kernels.project import Linear, Merge, Norm, ScatterIndex, fold_projector, project
from kernels.varlen import PackedSequence
from kernels.varlen import choose_body as choose_varlen_body
from service.checkpoint.files import read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.errors import ConfigurationError
from service.families.native.steps import Back, Step, SteppedLayers, straight
from service.families.native.tower import NativeTower
from service.families.paddleocr_vl.blocks import load_blocks, make_encoder, read_layer
from service.families.paddleocr_vl.names import own_name
from service.families.paddleocr_vl.positions import resample
from service.families.towers import TowerChoice, resolve_body

_PROJECTOR_EPS = 1e-5
"""Of the projector's norm, as the model has it; no configuration says it."""


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    layer = make_encoder(_read_config(folder).vision_config).layers[0]
    return resolve_body(
        layer, read_layer, lambda obstacle: choose_varlen_body(requested, device=device, obstacle=obstacle)
    )


def load(folder: Path, choice: TowerChoice) -> NativeTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and projector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = _read_config(folder)
    vision, width = config.vision_config, config.text_config.hidden_size
    tensors = TowerTensors(folder, own_name)
    front = _front(tensors, vision, folder, choice)
    positions = _positions(tensors, vision, choice)
    blocks = load_blocks(tensors, vision, choice)
    back = _back(tensors, vision, width, choice)
    tensors.refuse_rest()
    merge = vision.spatial_merge_size
    layers = SteppedLayers(positions, straight(blocks, back), merge, choice.device)
    return NativeTower(front, layers, choice, width=width, merge=merge)


def _read_config(folder: Path) -> Any:
    """config.json as transformers has it. Raises ConfigurationError."""
    file = folder / "config.json"
    try:
        config = PaddleOCRVLConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever transformers' validation makes of the file
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"model: {file} is not PaddleOCR-VL's: {reason}") from None
    vision = config.vision_config
    if vision.num_channels != 3:
        raise ConfigurationError(f"model: {file} has num_channels {vision.num_channels}; needed are 3")
    if vision.num_hidden_layers < 1:
        raise ConfigurationError(
            f"model: {file} has num_hidden_layers {vision.num_hidden_layers} in vision_config; needed is 1 at least"
        )
    if vision.hidden_size % (4 * vision.num_attention_heads):
        raise ConfigurationError(
            f"model: {file} has hidden_size {vision.hidden_size} and num_attention_heads {vision.num_attention_heads} "
            "in vision_config; each head needs a multiple of four"
        )
    if vision.image_size < vision.patch_size:
        raise ConfigurationError(
            f"model: {file} has image_size {vision.image_size} and patch_size {vision.patch_size}; needed is a patch "
            "at least"
        )
    return config


def _front(tensors: TowerTensors, vision: Any, folder: Path, choice: TowerChoice) -> FoldedPatchEmbed:
    mean, std = read_normalisation(folder)
    at, hidden = "embeddings.patch_embedding", vision.hidden_size
    weight = tensors.take(f"{at}.weight", (hidden, 3, vision.patch_size, vision.patch_size))
    bias = tensors.take(f"{at}.bias", (hidden,))
    return fold_patch_embed(weight, bias, mean, std, None, None, dtype=choice.dtype, device=choice.device)


def _positions(tensors: TowerTensors, vision: Any, choice: TowerChoice) -> Step:
    side = vision.image_size // vision.patch_size
    table = tensors.take("embeddings.position_embedding.weight", (side * side, vision.hidden_size))
    table = table.to(choice.device, torch.float32, copy=True)

    def add(hidden: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
        return hidden.add_(resample(table, sequence))

    return add


def _back(tensors: TowerTensors, vision: Any, width: int, choice: TowerChoice) -> Back:
    hidden, merge = vision.hidden_size, Merge(vision.spatial_merge_size, "given")
    inputs = hidden * merge.parts

    def linear(name: str, takes: int, outputs: int) -> Linear:
        weight = tensors.take(f"projector.{name}.weight", (outputs, takes))
        return Linear(weight, tensors.take(f"projector.{name}.bias", (outputs,)))

    def norm(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return tensors.take(f"{name}.weight", (hidden,)), tensors.take(f"{name}.bias", (hidden,))

    weight, bias = (each.to(choice.device, choice.dtype, copy=True) for each in norm("post_layernorm"))
    own_weight, own_bias = norm("projector.pre_norm")
    folded = fold_projector(
        (linear("linear_1", inputs, inputs), linear("linear_2", inputs, width)),
        activation="gelu",
        norm=Norm("layer", "patch", own_weight, own_bias, eps=_PROJECTOR_EPS),
        merge=merge,
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )

    def back(patches: torch.Tensor, scatter: ScatterIndex) -> torch.Tensor:
        normed = F.layer_norm(patches, (hidden,), weight, bias, vision.layer_norm_eps)
        rows = normed.new_empty(len(normed) // merge.parts, width)
        return project(normed[None], folded, backend=choice.backend, out=rows, scatter=scatter)

    return back
