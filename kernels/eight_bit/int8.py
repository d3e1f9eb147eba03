"""A linear layer in int8 on oneDNN, whose product takes one scale for all rows: each row's own is applied around it.

Activations are unsigned bytes with 128 for zero: for signed ones oneDNN has a fast product on AMX alone, and a loop
thousands of times as slow elsewhere. Some rows at a time are quantised and scaled back, so that what lies between stays
in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from kernels.backend import product_dtype
from kernels.eight_bit.reference import INT8_LARGEST, SMALLEST, scales, to_int8

ZERO = 128
ROUNDING = 1.5 * 2.0**23
"""Added to a small number in fp32, it leaves its integer in the lowest bits, halves rounded to even. Integers become
bytes in a fifth of the time that fp32 takes."""
AT_ONCE = 2**18
"""Numbers that are converted or scaled at once: in fp32 the second cache holds them."""
LEAST_ROWS = 128
"""At once, however long they are: fewer take longer to hand out than to compute."""


@dataclass(frozen=True, slots=True, eq=False)
class Int8Linear:
    """A layer whose weight lies as oneDNN reads it, and the activation that follows."""

    weight: torch.Tensor
    channels: torch.Tensor
    """Scales of the outputs, fp32 [outputs]."""
    zeros: torch.Tensor
    """int32 [outputs]: the weights are symmetric."""
    zero: torch.Tensor
    """fp32 [inputs]: zero's byte in the lowest bits."""
    bias: torch.Tensor
    """[outputs], in the dtype of the activations, as are all results."""
    activation: tuple[str, str] = ("none", "")
    """As oneDNN names it: (gelu, none), (gelu, tanh), (swish, "") or (none, "")."""

    @torch.inference_mode()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[..., inputs] → [..., outputs]"""
        rows = x.reshape(-1, x.shape[-1])
        if not len(rows):
            return x.new_empty(*x.shape[:-1], len(self.bias))
        sums, scale = self._product(rows)
        for some, of_rows in _portions(sums, scale):
            torch.addcmul(self.bias, some, of_rows, out=some)
            _activate(some, self.activation)
        return sums.view(*x.shape[:-1], len(self.bias))

    def _product(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The sums times their channel's scale, [rows, outputs], and the scale of each row, [rows, 1]."""
        quantised = torch.empty(rows.shape, dtype=torch.uint8)
        scale = rows.new_empty(len(rows), 1)
        for some, into, of_rows in _portions(rows, quantised, scale):
            exact = some.float()
            largest = torch.maximum(exact.amax(-1, keepdim=True), -exact.amin(-1, keepdim=True))
            of_rows.copy_((largest / INT8_LARGEST).clamp_min_(SMALLEST))
            # by what the scale was rounded to, so that dividing loses nothing
            bits = torch.addcmul(self.zero, exact, 1 / of_rows.float()).view(torch.int32)
            into.copy_(bits)  # the lowest eight of them
        product: Any = torch.ops.onednn.qlinear_pointwise
        sums: torch.Tensor = product(
            quantised,
            1.0,
            ZERO,
            self.weight,
            self.channels,
            self.zeros,
            None,
            1.0,
            0,
            product_dtype(rows.dtype, "cpu"),
            "none",
            [],
            "",
        )
        return sums.to(rows.dtype), scale


def pack_int8(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
    activation: tuple[str, str] = ("none", ""),
) -> Int8Linear:
    """The layer for activations in `dtype`; `weight` is [outputs, inputs], and no memory is shared with it."""
    outputs, inputs = weight.shape
    weight = weight.detach().to("cpu", torch.float32)
    channels = scales(weight, INT8_LARGEST)
    prepack: Any = torch.ops.onednn.qlinear_prepack
    return Int8Linear(
        weight=prepack(to_int8(weight, channels).contiguous(), [LEAST_ROWS, inputs]),
        channels=channels.flatten(),
        zeros=torch.zeros(outputs, dtype=torch.int32),
        zero=torch.full((inputs,), ROUNDING + ZERO),
        bias=torch.zeros(outputs, dtype=dtype) if bias is None else bias.detach().to("cpu", dtype, copy=True),
        activation=activation,
    )


def _portions(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same rows of all, some at a time; the first are the longest."""
    rows = max(LEAST_ROWS, AT_ONCE // tensors[0].shape[-1])
    return zip(*(torch.split(tensor, rows) for tensor in tensors), strict=True)


def _activate(x: torch.Tensor, activation: tuple[str, str]) -> None:
    """In place."""
    kind, algorithm = activation
    if kind == "gelu":
        torch.ops.aten.gelu_(x, approximate=algorithm)
    elif kind == "swish":
        F.silu(x, inplace=True)
    elif kind != "none":
        raise ValueError(f"activation: got {kind!r}, allowed are 'none', 'gelu' and 'swish'")
