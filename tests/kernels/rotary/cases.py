"""Queries, keys and values of awkward numbers of tokens and heads, and rotations for them."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Shape(NamedTuple):
    tokens: int
    heads: int
    width: int
    """of a head"""


SHAPES = (
    Shape(1, 1, 4),
    Shape(5, 3, 12),
    Shape(7, 2, 6),
    Shape(3, 16, 80),
    Shape(65, 4, 72),
    Shape(257, 1, 64),
)
ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def drawn(shape: Shape, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """qkv and rotations, each of a different angle."""
    random = torch.Generator().manual_seed(sum(shape))
    qkv = torch.randn(shape.tokens, 3 * shape.heads * shape.width, generator=random)
    angles = 100 * torch.rand(shape.tokens, shape.width // 2, generator=random)
    return qkv.to(dtype), torch.polar(torch.ones_like(angles), angles)


def exact(qkv: torch.Tensor, rotations: torch.Tensor, shape: Shape) -> torch.Tensor:
    """In fp64, one head and one pair at a time, as a matrix of rotation."""
    made = qkv.double().clone()
    cos, sin = rotations.real.double(), rotations.imag.double()
    for head in range(2 * shape.heads):
        for pair in range(shape.width // 2):
            at = head * shape.width + 2 * pair
            matrix = torch.stack(
                [
                    torch.stack([cos[:, pair], -sin[:, pair]], -1),
                    torch.stack([sin[:, pair], cos[:, pair]], -1),
                ],
                1,
            )  # [tokens, 2, 2]
            made[:, at : at + 2] = (matrix @ made[:, at : at + 2, None])[:, :, 0]
    return made
