"""What add_norm computes, in plain torch: read this file first."""

from __future__ import annotations

from typing import Literal, get_args

import torch

NormKind = Literal["layer", "rms"]
NORMS: tuple[NormKind, ...] = get_args(NormKind)


def add_norm(
    hidden: torch.Tensor,
    update: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    kind: NormKind,
) -> tuple[torch.Tensor, torch.Tensor]:
    """[tokens, hidden] each → the sum and the normalised sum, in fp32, or in fp64 as they were given.

    LayerNorm: Ba et al. 2016; RMSNorm: Zhang and Sennrich 2019.
    """
    precise = torch.promote_types(hidden.dtype, torch.float32)
    total = hidden.to(precise) + update.to(precise)
    centred = total - total.mean(-1, keepdim=True) if kind == "layer" else total
    normed = centred * (centred.square().mean(-1, keepdim=True) + eps).rsqrt() * weight.to(precise)
    return total, normed if bias is None else normed + bias.to(precise)
