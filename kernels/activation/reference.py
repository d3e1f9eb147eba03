"""What an activation computes, in plain torch: read this file first.

GELU and its form with tanh: Hendrycks and Gimpel 2016. In the dtype of the tensor it is the chain that transformers
runs; in fp32 or fp64 it is what the kernel is held against.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "silu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
QUICK = 1.702
"""quick_gelu(x) = x · sigmoid(QUICK · x), OpenAI's approximation in CLIP"""


def activate(x: torch.Tensor, kind: Activation) -> torch.Tensor:
    if kind == "quick_gelu":
        return x * torch.sigmoid(QUICK * x)
    if kind == "silu":
        return F.silu(x)
    return F.gelu(x, approximate="none" if kind == "gelu" else "tanh")


def gated(x: torch.Tensor, kind: Activation) -> torch.Tensor:
    """[..., 2 · width], gate and value side by side → [..., width]: activation(gate) · value."""
    gate, value = x.chunk(2, -1)
    return activate(gate, kind) * value
