"""Attention among segments of equal length, with rotary positions, in one call.

A pair of numbers that rotate together (RoPE) is one complex number: `fold.py` put them side by side, and rotating is
one multiplication.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from kernels.blocks import cpu
from kernels.varlen.reference import angles
from kernels.varlen.sequence import Segments


def rotations(positions: torch.Tensor, width: int) -> torch.Tensor:
    """int64 or fp64 [tokens, 2] → complex64 [tokens, width / 2], by which a head's pairs are multiplied."""
    rope = angles(positions, width)
    return torch.complex(rope.cos().float(), rope.sin().float())


def attend_groups(
    qkv: torch.Tensor, rope: torch.Tensor | None, groups: Sequence[Segments], heads: int, scale: float
) -> torch.Tensor:
    """[tokens, 3 · hidden] → [tokens, hidden], one call for each group; each token is in one of them.

    Args:
        rope: [tokens, width / 2] of `rotations`; None where queries and keys have been rotated.
    """

    def within(group: Segments) -> torch.Tensor:
        shape = group.count, group.length, -1
        rope_of_part = None if rope is None else rope[group.rows].view(shape)
        return attend(qkv[group.rows].view(shape), rope_of_part, heads, scale).flatten(0, 1)

    if len(groups) == 1 and groups[0].index is None:
        return within(groups[0])
    attn_out = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
    for group in groups:
        attn_out[group.rows] = within(group)
    return attn_out


def attend(qkv: torch.Tensor, rope: torch.Tensor | None, heads: int, scale: float) -> torch.Tensor:
    """[segments, tokens, 3 · hidden] → [segments, tokens, hidden].

    Args:
        rope: [segments, tokens, width / 2] of `rotations`; None where queries and keys have been rotated.
    """
    segments, tokens, _ = qkv.shape
    split = qkv.view(segments, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    if rope is not None or qkv.device.type == "cpu":  # a GPU's attention reads them where they are
        split = split.contiguous()
    if rope is not None:
        _rotate(split[:2], rope)
    query, key, value = split  # [segments, heads, tokens, width]
    if _fits_cache(tokens, qkv):
        attn_out = cpu.attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), scale).view_as(
            value
        )
    else:
        attn_out = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return attn_out.transpose(1, 2).reshape(segments, tokens, -1)


def _rotate(split: torch.Tensor, rope: torch.Tensor) -> None:
    """Queries and keys [2, segments, heads, tokens, width], in place."""
    pairs = torch.view_as_complex(torch.unflatten(split.float(), -1, (-1, 2)))
    pairs *= rope[:, None]
    if split.dtype != torch.float32:  # of which they are a view
        split.copy_(torch.view_as_real(pairs).flatten(-2))  # rounded once


def _fits_cache(tokens: int, qkv: torch.Tensor) -> bool:
    """Whether two products with scores in between are the faster way: on a CPU, while its cache holds them."""
    return qkv.device.type == "cpu" and tokens * tokens * qkv.itemsize <= cpu.SCORES_BYTES
