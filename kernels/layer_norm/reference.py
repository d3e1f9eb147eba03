"""What layer_norm computes, in plain torch and fp32: read this file first."""

from __future__ import annotations

import torch


def layer_norm(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """[tiles, tokens, hidden] → the same in fp32; the variance is the mean square, not the unbiased estimate."""
    x = hidden.float()
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred * (variance + eps).rsqrt() * weight.float() + bias.float()
