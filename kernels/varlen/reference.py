"""What a block computes, in plain torch, with who attends to whom as one mask.

Norm, attention with two-dimensional rotary positions, norm, MLP. Qwen2.5-VL (arXiv 2502.13923) has RMSNorm and a gated
MLP with SiLU; Qwen2-VL (arXiv 2409.12191) and Qwen3-VL (arXiv 2511.21631) have LayerNorm and a plain MLP with a form of
GELU. In fp32 or fp64 it is what `blocks.py` is held against; its mask takes tokens² numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from kernels.activation.reference import Activation, activate
from kernels.add_norm.reference import NormKind
from kernels.blocks.reference import Affine, normalise

THETA = 10_000.0


@dataclass(frozen=True, slots=True, eq=False)
class VarlenBlock:
    """One block's parameters, as its checkpoint holds them."""

    norm_before: Affine
    query: Affine
    key: Affine
    value: Affine
    out: Affine
    norm_after: Affine
    gate: Affine | None
    """of an MLP that computes activation(gate) · up; None in one that computes activation(up)"""
    up: Affine
    down: Affine
    heads: int
    eps: tuple[float, float]
    """of both norms"""
    norm: NormKind
    activation: Activation

    @property
    def width(self) -> int:
        """of a head"""
        return len(self.query.weight) // self.heads


def angles(positions: torch.Tensor, width: int) -> torch.Tensor:
    """int64 or fp64 [tokens, 2] → fp64 [tokens, width / 2]: the first half rotates with the row, the second with the
    column."""
    exponents = torch.arange(0, width // 2, 2, dtype=torch.float64, device=positions.device) / (width // 2)
    return (positions[:, :, None] * THETA**-exponents).flatten(1)


def block(hidden: torch.Tensor, p: VarlenBlock, mask: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
    """[tokens, hidden] → the same, in the dtype of both.

    Args:
        mask: bool [tokens, tokens], true where a token attends to another.
        rope: of `angles`.
    """
    hidden = hidden + _attention(normalise(hidden, p.norm_before, p.eps[0], p.norm), p, mask, rope)
    return hidden + _mlp(normalise(hidden, p.norm_after, p.eps[1], p.norm), p)


def _mlp(x: torch.Tensor, p: VarlenBlock) -> torch.Tensor:
    up = F.linear(x, p.up.weight, p.up.bias)
    if p.gate is None:
        inner = activate(up, p.activation)
    else:
        inner = activate(F.linear(x, p.gate.weight, p.gate.bias), p.activation) * up
    return F.linear(inner, p.down.weight, p.down.bias)


def _attention(x: torch.Tensor, p: VarlenBlock, mask: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
    # [heads, tokens, width]
    query, key, value = (
        F.linear(x, one.weight, one.bias).view(len(x), p.heads, p.width).transpose(0, 1)
        for one in (p.query, p.key, p.value)
    )
    attn_out = F.scaled_dot_product_attention(
        _rotated(query, rope), _rotated(key, rope), value, attn_mask=mask
    )
    return F.linear(attn_out.transpose(0, 1).flatten(1), p.out.weight, p.out.bias)


def _rotated(x: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
    """Element i rotates with element i + width / 2."""
    first, second = x.chunk(2, -1)
    cos, sin = rope.cos().to(x.dtype), rope.sin().to(x.dtype)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
