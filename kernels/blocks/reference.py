"""What a block computes, in plain torch: the pre-LayerNorm block of ViT, CLIP, SigLIP and InternViT.

Dosovitskiy et al. 2020, equations 2 and 3; layer scale from Touvron et al. 2021 (CaiT). In the dtype of the tensors
it is the chain that transformers runs; in fp32 or fp64 it is what `cpu.py` is held against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F

from kernels.activation.reference import activate
from kernels.add_norm.reference import NormKind

Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """Weight and bias of a linear layer ([outputs, inputs], [outputs]) or of a LayerNorm ([hidden] both)."""

    weight: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One block's parameters, as its checkpoint holds them."""

    norm_before: Affine
    query: Affine
    key: Affine
    value: Affine
    out: Affine
    norm_after: Affine
    up: Affine
    down: Affine
    heads: int
    scale: float
    """of the attention's scores, heads' width ** -0.5"""
    eps: tuple[float, float]
    """of both LayerNorms"""
    activation: Activation
    layer_scale: tuple[torch.Tensor, torch.Tensor] | None = None
    """[hidden] each, times what attention and MLP add; None without"""


def block(hidden: torch.Tensor, p: Block) -> torch.Tensor:
    """[images, tokens, hidden] → the same, in the dtype of both."""
    first, second = p.layer_scale or (1.0, 1.0)
    hidden = hidden + first * _attention(normalise(hidden, p.norm_before, p.eps[0]), p)
    return hidden + second * _mlp(normalise(hidden, p.norm_after, p.eps[1]), p)


def normalise(x: torch.Tensor, p: Affine, eps: float, norm: NormKind = "layer") -> torch.Tensor:
    if norm == "rms":
        return F.rms_norm(x, p.weight.shape, p.weight, eps)
    return F.layer_norm(x, p.weight.shape, p.weight, p.bias, eps)


def _attention(x: torch.Tensor, p: Block) -> torch.Tensor:
    # [images, heads, tokens, width]
    q, k, v = (
        torch.unflatten(F.linear(x, one.weight, one.bias), -1, (p.heads, -1)).transpose(1, 2)
        for one in (p.query, p.key, p.value)
    )
    seen = F.scaled_dot_product_attention(q, k, v, scale=p.scale)
    return F.linear(seen.transpose(1, 2).flatten(2), p.out.weight, p.out.bias)


def _mlp(x: torch.Tensor, p: Block) -> torch.Tensor:
    return F.linear(activate(F.linear(x, p.up.weight, p.up.bias), p.activation), p.down.weight, p.down.bias)
