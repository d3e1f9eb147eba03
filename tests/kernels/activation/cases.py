"""Products of awkward sizes, and what their activations are by definition."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from kernels.activation import Activation


class Shape(NamedTuple):
    rows: int
    width: int
    gated: bool


SHAPES = (
    Shape(1, 1, False),
    Shape(1, 1, True),
    Shape(5, 7, False),
    Shape(3, 431, True),
    Shape(2, 1024, False),
    Shape(3, 1728, True),
    Shape(257, 24, True),
)
ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def drawn(shape: Shape, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    random = torch.Generator().manual_seed(shape.rows + shape.width)
    return (3 * torch.randn(shape.rows, shape.width * (1 + shape.gated), generator=random)).to(dtype)


def exact(x: torch.Tensor, kind: Activation, gated: bool) -> torch.Tensor:
    """In fp64, from the definitions."""
    gate, value = x.double().chunk(2, 1) if gated else (x.double(), torch.ones(1).double())
    share = {
        "gelu": lambda: 0.5 * (1 + torch.erf(gate / math.sqrt(2))),
        "gelu_tanh": lambda: 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3))),
        "quick_gelu": lambda: 1 / (1 + torch.exp(-1.702 * gate)),
        "silu": lambda: 1 / (1 + torch.exp(-gate)),
    }[kind]()
    return gate * share * value
