"""Blocks out of transformers' modules. Only classes that are listed are read: one that looks alike may compute another
thing. Imports nothing of transformers: a class is known by its name.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from kernels.activation import Activation
from kernels.blocks import UnsupportedLayer
from kernels.blocks.layers import read_activation
from kernels.blocks.reference import Affine
from kernels.varlen.reference import THETA, VarlenBlock

GATED = ("gate_proj", "up_proj", "down_proj")
MLPS: dict[str, tuple[str, ...]] = {
    "Qwen2VLVisionBlock": ("fc1", "fc2"),
    "Qwen2_5_VLVisionBlock": GATED,
    "Qwen3VLVisionBlock": ("linear_fc1", "linear_fc2"),
    "Qwen3VLMoeVisionBlock": ("linear_fc1", "linear_fc2"),
    "Qwen3_5VisionBlock": ("linear_fc1", "linear_fc2"),
    "Qwen3_5MoeVisionBlock": ("linear_fc1", "linear_fc2"),
    "Glm4vVisionBlock": GATED,
    "Glm4vMoeVisionBlock": GATED,
}
"""The layers of a block's MLP, by the block's class: (gate, up, down), or (up, down) where there is no gate."""
PIXTRAL = "PixtralAttentionLayer"
"""The same by other names. Its columns have frequencies of their own: positions must be given in those of the rows."""


def read_layer(layer: nn.Module) -> VarlenBlock:
    """The block that `layer` is; the tensors are the layer's own.

    Raises UnsupportedLayer: another class, another activation, or a version of transformers that lays it out otherwise.
    """
    kind = type(layer).__name__
    if kind not in (*MLPS, PIXTRAL):
        raise UnsupportedLayer(f"{kind} is none of {', '.join((*MLPS, PIXTRAL))}")
    try:
        return _read_pixtral(layer) if kind == PIXTRAL else _read(layer, MLPS[kind])
    except AttributeError as error:
        raise UnsupportedLayer(
            f"{kind} of this version of transformers is laid out otherwise: {error}"
        ) from None


def _read(layer: Any, names: tuple[str, ...]) -> VarlenBlock:
    attention, mlp = layer.attn, layer.mlp
    weights, bias = attention.qkv.weight.chunk(3), attention.qkv.bias
    query, key, value = map(Affine, weights, (None,) * 3 if bias is None else bias.chunk(3))
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


def _read_pixtral(layer: Any) -> VarlenBlock:
    attention, mlp = layer.attention, layer.feed_forward
    if (theta := attention.config.rope_parameters["rope_theta"]) != THETA:
        raise UnsupportedLayer(f"its rope_theta is {theta:g}, known is {THETA:g}")
    norms = layer.attention_norm, layer.ffn_norm
    return VarlenBlock(
        norm_before=_affine(norms[0]),
        query=_affine(attention.q_proj),
        key=_affine(attention.k_proj),
        value=_affine(attention.v_proj),
        out=_affine(attention.o_proj),
        norm_after=_affine(norms[1]),
        gate=_affine(mlp.gate_proj),
        up=_affine(mlp.up_proj),
        down=_affine(mlp.down_proj),
        heads=int(attention.num_heads),
        eps=(_eps(norms[0]), _eps(norms[1])),
        norm="rms",
        activation=_activation(mlp),
    )


def _affine(module: Any) -> Affine:
    return Affine(module.weight, getattr(module, "bias", None))


def _eps(norm: Any) -> float:
    return float(norm.eps if type(norm) is nn.LayerNorm else norm.variance_epsilon)


def _activation(mlp: Any) -> Activation:
    module = mlp.act if hasattr(mlp, "act") else mlp.act_fn
    return "silu" if type(module).__name__ in ("SiLU", "SiLUActivation") else read_activation(module)
