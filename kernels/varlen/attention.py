"""Attention among segments of equal length, with rotary positions, in one call.

A pair of numbers that rotate together (RoPE) is one complex number: `fold.py` put them side by side, and rotating is
one multiplication.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kernels.blocks import cpu
from kernels.varlen.reference import angles


def rotations(positions: torch.Tensor, width: int) -> torch.Tensor:
    """int64 or fp64 [tokens, 2] → complex64 [tokens, width / 2], by which a head's pairs are multiplied."""
    rope = angles(positions, width)
    return torch.complex(rope.cos().float(), rope.sin().float())


def attend(qkv: torch.Tensor, rope: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """[segments, tokens, 3 · hidden] → [segments, tokens, hidden].

    Args:
        rope: [segments, tokens, width / 2] of `rotations`.
    """
    segments, tokens, _ = qkv.shape
    split = qkv.view(segments, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).contiguous()
    pairs = torch.view_as_complex(torch.unflatten(split[:2].float(), -1, (-1, 2)))
    pairs *= rope[:, None]
    if split.dtype != torch.float32:  # of which they are a view
        split[:2] = torch.view_as_real(pairs).flatten(-2)  # rounded once
    query, key, value = split  # [segments, heads, tokens, width]
    if _fits_cache(tokens, qkv):
        attn_out = cpu.attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), scale).view_as(
            value
        )
    else:
        attn_out = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return attn_out.transpose(1, 2).reshape(segments, tokens, -1)


def _fits_cache(tokens: int, qkv: torch.Tensor) -> bool:
    """Whether two products with scores in between are the faster way: on a CPU, while its cache holds them."""
    return qkv.device.type == "cpu" and tokens * tokens * qkv.itemsize <= cpu.SCORES_BYTES
