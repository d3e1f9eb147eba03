"""Layers in 8 bits in place of a model's own, for towers whose blocks are left to transformers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from kernels.eight_bit.fp8 import CannotQuantise, pack_fp8
from kernels.eight_bit.int8 import pack_int8


class EightBitModule(nn.Module):
    """A linear layer's replacement, with a copy of its weight."""

    def __init__(self, linear: nn.Linear, precision: Literal["int8", "fp8"]) -> None:
        super().__init__()
        weight, bias = linear.weight, linear.bias
        self._layer = (
            pack_int8(weight, bias, weight.dtype)
            if precision == "int8"
            else pack_fp8(weight, bias, weight.dtype, weight.device)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._layer(x)


def quantise_linears(modules: Iterable[nn.Module], precision: Literal["int8", "fp8"]) -> None:
    """Replaces every `nn.Linear` inside the modules, whose weights are loaded; other classes, also those derived from
    it, are left. Raises CannotQuantise."""
    found = 0
    for root in modules:
        for parent in list(root.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    setattr(parent, name, EightBitModule(child, precision))
                    found += 1
    if not found:
        raise CannotQuantise("whose blocks have no linear layer")
