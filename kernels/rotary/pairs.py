"""rotary in plain torch: a pair of numbers that rotate together is one complex number, and rotating is one product."""

from __future__ import annotations

import torch


def rotary(qkv: torch.Tensor, rotations: torch.Tensor, heads: int) -> None:
    """In place, all already checked; rounded once."""
    turned = qkv[:, : qkv.shape[1] // 3 * 2]
    pairs = torch.view_as_complex(torch.unflatten(turned, 1, (2 * heads, -1, 2)).float())
    pairs *= rotations[:, None]
    if qkv.dtype != torch.float32:  # of which they are a view
        turned.copy_(torch.view_as_real(pairs).flatten(1))
