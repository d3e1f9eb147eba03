"""What a linear layer in 8 bits computes, in plain torch: symmetric and dynamic.

A row of activations is divided by its largest magnitude, an output channel of the weight by its own, and both are
rounded: to integers of at most 127 (int8), whose sums are exact, or to numbers of at most 448 with three bits of
mantissa (fp8: e4m3, Micikevicius et al. 2022, arXiv:2209.05433), which are added in fp32. This is vector-wise
quantisation (Dettmers et al. 2022, LLM.int8(), arXiv:2208.07339) without its columns of outliers.
"""

from __future__ import annotations

import torch

INT8_LARGEST = 127
FP8 = torch.float8_e4m3fn
FP8_LARGEST = 448
SMALLEST = 1e-30
"""Scale of a row of zeros."""


def scales(x: torch.Tensor, largest: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """[..., inputs] → [..., 1] in fp32: what each row is divided by to reach `largest`, representable in `dtype`."""
    magnitude = x.abs().amax(-1, keepdim=True).float()
    return (magnitude / largest).clamp_min(SMALLEST).to(dtype).float()


def to_int8(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """[..., inputs] → int8 of the same shape, halves rounded to even."""
    return (x.double() * (1 / scale)).round().to(torch.int8)


def to_fp8(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """[..., inputs] → e4m3 of the same shape, halves rounded to even."""
    return (x * (1 / scale)).to(FP8)


def int8_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[rows, inputs] → [rows, outputs] in fp32; `weight` is [outputs, inputs]. Row scales are those of x's dtype."""
    row, channel = scales(x, INT8_LARGEST, x.dtype), scales(weight, INT8_LARGEST)
    return _scaled_back(to_int8(x, row), to_int8(weight, channel), row, channel, bias)


def fp8_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[rows, inputs] → [rows, outputs] in fp32; `weight` is [outputs, inputs]."""
    row, channel = scales(x, FP8_LARGEST), scales(weight, FP8_LARGEST)
    return _scaled_back(to_fp8(x, row), to_fp8(weight, channel), row, channel, bias)


def _scaled_back(
    x: torch.Tensor, weight: torch.Tensor, row: torch.Tensor, channel: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    sums = x.double() @ weight.double().T
    made = (sums * channel.double().T * row.double()).float()
    return made if bias is None else made + bias.float()
