"""Blocks out of transformers' modules. Only classes that are listed are read: one that looks alike may compute another
thing. Imports nothing of transformers: a class is known by its name.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from kernels.blocks import UnsupportedLayer
from kernels.blocks.layers import read_activation
from kernels.blocks.reference import Affine
from kernels.varlen.reference import Activation, VarlenBlock

GATED = ("gate_proj", "up_proj", "down_proj")
MLPS: dict[str, tuple[str, ...]] = {
    "Qwen2VLVisionBlock": ("fc1", "fc2"),
    "Qwen2_5_VLVisionBlock": GATED,
    "Qwen3VLVisionBlock": ("linear_fc1", "linear_fc2"),
    "Qwen3VLMoeVisionBlock": ("linear_fc1", "linear_fc2"),
    "Qwen3_5VisionBlock": ("linear_fc1", "linear_fc2"),
    "Qwen3_5MoeVisionBlock": ("linear_fc1", "linear_fc2"),
}
"""The layers of a block's MLP, by the block's class: (gate, up, down), or (up, down) where there is no gate."""


def read_layer(layer: nn.Module) -> VarlenBlock:
    """The block that `layer` is; the tensors are the layer's own.

    Raises UnsupportedLayer: another class, another activation, or a version of transformers that lays it out otherwise.
    """
    kind = type(layer).__name__
    if kind not in MLPS:
        raise UnsupportedLayer(f"{kind} is none of {', '.join(MLPS)}")
    try:
        return _read(layer, MLPS[kind])
    except AttributeError as error:
        raise UnsupportedLayer(
            f"{kind} of this version of transformers is laid out otherwise: {error}"
        ) from None


def _read(layer: Any, names: tuple[str, ...]) -> VarlenBlock:
    attention, mlp = layer.attn, layer.mlp
    weights, biases = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
    query, key, value = map(Affine, weights, biases)
    *gate, up, down = (_affine(getattr(mlp, name)) for name in names)
    norms = layer.norm1, layer.norm2
    return VarlenBlock(
        norm_before=_affine(norms[0]),
        query=query,
        key=key,
        value=value,
        out=_affine(attention.proj),
        norm_after=_affine(norms[1]),
        gate=gate[0] if gate else None,
        up=up,
        down=down,
        heads=int(attention.num_heads),
        eps=(_eps(norms[0]), _eps(norms[1])),
        norm="layer" if type(layer.norm1) is nn.LayerNorm else "rms",
        activation=_activation(mlp),
    )


def _affine(module: Any) -> Affine:
    return Affine(module.weight, getattr(module, "bias", None))


def _eps(norm: Any) -> float:
    return float(norm.eps if type(norm) is nn.LayerNorm else norm.variance_epsilon)


def _activation(mlp: Any) -> Activation:
    module = mlp.act if hasattr(mlp, "act") else mlp.act_fn
    return "silu" if type(module).__name__ in ("SiLU", "SiLUActivation") else read_activation(module)
