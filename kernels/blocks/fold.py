"""Everything about a block that does not depend on the image, worked out once, and the weights in oneDNN's layout.

- query, key and value become one product;
- layer scale goes into the rows of the product before it;
- quick_gelu(y) = swish(1.702·y) / 1.702: the factors go into the products before and after, and what is left is an
  epilogue that oneDNN has.

Factors are multiplied in fp32 and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from kernels.activation.reference import QUICK
from kernels.blocks.reference import Affine, Block
from kernels.eight_bit import Int8Linear, Precision, pack_int8

EPILOGUES: dict[str, tuple[str, str]] = {
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "quick_gelu": ("swish", ""),
}
"""(attribute, algorithm) of `mkldnn::_linear_pointwise`"""
ROWS = 256
"""For which the layout of the weights is chosen; the layout serves every other number of rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A linear layer whose weight lies as oneDNN reads it, and what follows the product."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    epilogue: tuple[str, str] = ("none", "")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[..., inputs] → [..., outputs], the epilogue applied before the one rounding."""
        attribute, algorithm = self.epilogue
        product: Any = torch.ops.mkldnn._linear_pointwise
        result: torch.Tensor = product(x, self.weight, self.bias, attribute, [], algorithm)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class PackedBlock:
    norm_before: Affine
    qkv: Packed | Int8Linear
    out: Packed | Int8Linear
    norm_after: Affine
    up: Packed | Int8Linear
    down: Packed | Int8Linear
    heads: int
    scale: float
    eps: tuple[float, float]


def pack(block: Block, dtype: torch.dtype, precision: Precision = "full") -> PackedBlock:
    """The block for products in `dtype`; shares no memory with it."""
    first, second = block.layer_scale or (None, None)
    quick = QUICK if block.activation == "quick_gelu" else 1.0
    return PackedBlock(
        norm_before=_rounded(block.norm_before, dtype),
        qkv=pack_linear(join(block.query, block.key, block.value), dtype, precision=precision),
        out=pack_linear(scaled(block.out, first), dtype, precision=precision),
        norm_after=_rounded(block.norm_after, dtype),
        up=pack_linear(scaled(block.up, quick), dtype, EPILOGUES[block.activation], precision),
        down=pack_linear(scaled(block.down, second, inputs=1 / quick), dtype, precision=precision),
        heads=block.heads,
        scale=block.scale,
        eps=block.eps,
    )


def join(*parts: Affine) -> Affine:
    """One layer with all outputs, one part after the other; a part without bias has zeros there."""
    biases = [part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in parts]
    bias = torch.cat(biases) if any(part.bias is not None for part in parts) else None
    return Affine(torch.cat([part.weight for part in parts]), bias)


def scaled(part: Affine, outputs: torch.Tensor | float | None, inputs: float = 1.0) -> Affine:
    """The layer after multiplying its outputs, and its inputs, in fp32."""
    if outputs is None:
        outputs = 1.0
    factor = torch.as_tensor(outputs, dtype=torch.float32)
    weight = part.weight.float() * (factor * inputs).view(-1, 1)
    return Affine(weight, None if part.bias is None else part.bias.float() * factor)


def _rounded(part: Affine, dtype: torch.dtype) -> Affine:
    bias = None if part.bias is None else part.bias.detach().to(dtype, copy=True)
    return Affine(part.weight.detach().to(dtype, copy=True), bias)


def pack_linear(
    part: Affine, dtype: torch.dtype, epilogue: tuple[str, str] = ("none", ""), precision: Precision = "full"
) -> Packed | Int8Linear:
    """The layer with its weight in `dtype`, or in int8, in oneDNN's layout; shares no memory with it.

    Raises ValueError: oneDNN has no product in fp8.
    """
    if precision == "fp8":
        raise ValueError("precision: got 'fp8', allowed on a CPU are 'full' and 'int8'")
    if precision == "int8":
        return pack_int8(part.weight, part.bias, dtype, epilogue)
    rounded = _rounded(part, dtype)
    reorder: Any = torch.ops.mkldnn._reorder_linear_weight
    return Packed(reorder(rounded.weight.contiguous(), ROWS), rounded.bias, epilogue)
