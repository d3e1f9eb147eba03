"""Blocks out of transformers' modules. Only classes that are listed are read: one that looks alike may compute another
thing. Imports nothing of transformers: a class is known by its name.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from kernels.blocks import UnsupportedLayer
from kernels.blocks.reference import Affine
from kernels.varlen.reference import VarlenBlock


def read_layer(layer: nn.Module) -> VarlenBlock:
    """The block that a Qwen2_5_VLVisionBlock is; the tensors are the layer's own.

    Raises UnsupportedLayer: another class, another activation, or a version of transformers that lays it out otherwise.
    """
    kind = type(layer).__name__
    if kind != "Qwen2_5_VLVisionBlock":
        raise UnsupportedLayer(f"{kind} is no Qwen2_5_VLVisionBlock")
    try:
        return _read(layer)
    except AttributeError as error:
        raise UnsupportedLayer(
            f"{kind} of this version of transformers is laid out otherwise: {error}"
        ) from None


def _read(layer: Any) -> VarlenBlock:
    attention, mlp = layer.attn, layer.mlp
    activation = type(mlp.act_fn).__name__
    if activation not in ("SiLU", "SiLUActivation"):
        raise UnsupportedLayer(f"its activation is {activation}, known is SiLU")
    weights, biases = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
    query, key, value = map(Affine, weights, biases)
    return VarlenBlock(
        norm_before=Affine(layer.norm1.weight, None),
        query=query,
        key=key,
        value=value,
        out=_linear(attention.proj),
        norm_after=Affine(layer.norm2.weight, None),
        gate=_linear(mlp.gate_proj),
        up=_linear(mlp.up_proj),
        down=_linear(mlp.down_proj),
        heads=int(attention.num_heads),
        eps=(float(layer.norm1.variance_epsilon), float(layer.norm2.variance_epsilon)),
    )


def _linear(module: nn.Linear) -> Affine:
    return Affine(module.weight, module.bias)
