"""PaddleOCR-VL's transformer blocks over one packed sequence, by `kernels.varlen` or by transformers' own modules.

SigLIP's, with rotary positions in two dimensions; every patch sees its whole image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.paddleocr_vl.modeling_paddleocr_vl import PaddleOCRVisionEncoder

from kernels.blocks import UnsupportedLayer
from kernels.blocks.layers import read_activation
from kernels.blocks.reference import Affine
from kernels.varlen import VarlenBlock, VarlenBlocks, choose_way
from kernels.varlen.reference import THETA
from service.checkpoint.tensors import TowerTensors
from service.families.native.steps import ModuleBlocks, Step
from service.families.towers import TowerChoice, in_precision

_PREFIX = "encoder.layers"


def make_encoder(vision: Any) -> Any:
    """Transformers' own of a vision_config, on the meta device."""
    vision._attn_implementation = "sdpa"
    with torch.device("meta"):
        return PaddleOCRVisionEncoder(vision)


def read_layer(layer: Any) -> VarlenBlock:
    """The block that a PaddleOCRVisionEncoderLayer is; the tensors are the layer's own. Raises UnsupportedLayer."""
    attention, mlp = layer.self_attn, layer.mlp
    if (theta := attention.config.rope_parameters["rope_theta"]) != THETA:
        raise UnsupportedLayer(f"its rope_theta is {theta:g}, known is {THETA:g}")
    return VarlenBlock(
        norm_before=_affine(layer.layer_norm1),
        query=_affine(attention.q_proj),
        key=_affine(attention.k_proj),
        value=_affine(attention.v_proj),
        out=_affine(attention.out_proj),
        norm_after=_affine(layer.layer_norm2),
        gate=None,
        up=_affine(mlp.fc1),
        down=_affine(mlp.fc2),
        heads=attention.num_heads,
        eps=(layer.layer_norm1.eps, layer.layer_norm2.eps),
        norm="layer",
        activation=read_activation(mlp.activation_fn),
    )


def load_blocks(tensors: TowerTensors, vision: Any, choice: TowerChoice) -> Step:
    """All layers of a vision_config's tower. Raises ConfigurationError."""
    encoder = make_encoder(vision)
    layers = encoder.layers
    if choice.ours:
        tensors.fill(layers, _PREFIX, torch.device("cpu"), choice.dtype)  # ours are copies
        return VarlenBlocks(
            list(map(read_layer, layers)),
            range(len(layers)),
            choice.dtype,
            choice.device,
            way=choose_way(choice.body, choice.one_call),
            precision=choice.precision,
        )
    tensors.fill(layers, _PREFIX, choice.device, choice.dtype)
    in_precision(layers, choice)
    # its frequencies are computed, not loaded, and on the meta device they were not
    rotary = type(encoder.rotary_pos_emb)(vision).to(choice.device)

    def run(image: torch.Tensor, rotations: tuple[torch.Tensor, ...]) -> torch.Tensor:
        ends = torch.tensor([0, len(image)], dtype=torch.int32, device=image.device)
        for layer in layers:
            image = layer(image, ends, rotations)
        return image

    return ModuleBlocks(rotary, run)


def _affine(module: nn.Linear | nn.LayerNorm) -> Affine:
    return Affine(module.weight, module.bias)
