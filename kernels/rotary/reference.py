"""What rotary computes, in plain torch and fp32: read this file first."""

from __future__ import annotations

import torch


def rotary(qkv: torch.Tensor, rotations: torch.Tensor, heads: int) -> torch.Tensor:
    """[tokens, 3 · hidden] → the same in fp32, or in fp64 as it was given: the pair (a, b) becomes
    (a·cos − b·sin, b·cos + a·sin)."""
    hidden = qkv.shape[1] // 3
    precise = qkv.to(torch.promote_types(qkv.dtype, torch.float32))
    turned, value = torch.split(precise, [2 * hidden, hidden], 1)
    first, second = torch.unflatten(turned, 1, (2 * heads, -1, 2)).unbind(
        -1
    )  # [tokens, 2 · heads, width / 2]
    cos, sin = rotations.real[:, None], rotations.imag[:, None]
    pairs = torch.stack((first * cos - second * sin, second * cos + first * sin), -1)
    return torch.cat([pairs.flatten(1), value], 1)
