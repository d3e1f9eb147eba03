"""Hidden states whose mean is far from 0, as they are behind a patch embedding, and parameters for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

EPS = 1e-5
SHAPES = ((1, 1, 1), (3, 5, 7), (2, 3, 130), (1, 17, 1024), (257, 2, 33), (2, 1, 1664))
ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def drawn(
    shape: tuple[int, int, int], dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """hidden, weight and bias."""
    random = torch.Generator().manual_seed(sum(shape))
    hidden = 8 + torch.randn(shape, generator=random)
    weight, bias = (torch.randn(shape[2], generator=random) for _ in range(2))
    return hidden.to(dtype), weight.to(dtype), bias.to(dtype)


def exact(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """torch's own in fp64."""
    return F.layer_norm(hidden.double(), weight.shape, weight.double(), bias.double(), EPS)
