"""Attention among pieces of equal length, with rotary positions, in one call.

A pair of numbers that turn together is one complex number (`fold.py` put them side by side), and turning it is one
multiplication. Knows nothing of images or windows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kernels.blocks import cpu
from kernels.ragged.reference import angles


def turns(positions: torch.Tensor, width: int) -> torch.Tensor:
    """int64 [tokens, 2] → complex64 [tokens, width / 2], by which a head's pairs are multiplied."""
    turn = angles(positions, width)
    return torch.complex(turn.cos().float(), turn.sin().float())


def attend(qkv: torch.Tensor, turn: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """[pieces, tokens, 3 · hidden] → [pieces, tokens, hidden].

    Args:
        turn: [pieces, tokens, width / 2] of `turns`.
    """
    pieces, tokens, _ = qkv.shape
    apart = qkv.view(pieces, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).contiguous()
    pairs = torch.view_as_complex(torch.unflatten(apart[:2].float(), -1, (-1, 2)))
    pairs *= turn[:, None]
    apart[:2] = torch.view_as_real(pairs).flatten(-2)  # rounded once
    query, key, value = apart  # [pieces, heads, tokens, width]
    if _fits_cache(tokens, qkv):
        seen = cpu.attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), scale).view_as(value)
    else:
        seen = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return seen.transpose(1, 2).reshape(pieces, tokens, -1)


def _fits_cache(tokens: int, qkv: torch.Tensor) -> bool:
    """Whether two products with scores in between are the faster way: on a CPU, while its cache holds them."""
    return qkv.device.type == "cpu" and tokens * tokens * qkv.itemsize <= cpu.SCORES_BYTES
