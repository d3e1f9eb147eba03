"""A projector as its checkpoint holds it, and what each backend works out beforehand.

For the fused kernel the normalisation leaves the product's way. With γ and β of a LayerNorm, W and b of the linear
layer behind it:

    W·(γ·(x − mean)/std + β) + b  =  (W'·x − mean·ΣW')/std + b'      W' = W·γ,  b' = b + W·β

W' is rounded to the dtype of the product, ΣW' sums what was rounded, b' stays fp32. An RMSNorm has no mean. Per
patch instead of per row, each part of a row has a mean, a std and a ΣW' of its own. For the CPU the weights are packed
as oneDNN expects them. The caller finds the tensors in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F

from kernels.backend import BACKENDS, Backend, product_dtype
from kernels.project.merge import Merge

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
ALIGNMENT = 64
"""K of each part is padded to a multiple of this: whole blocks for the kernel."""

Activation = Literal["gelu", "gelu_pytorch_tanh", "quick_gelu", "silu", "relu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
"""By the names of transformers' `ACT2FN`."""


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """A normalisation in front of the first linear layer."""

    kind: Literal["layer", "rms"]
    per: Literal["row", "patch"]
    """row: over all parts of a row at once (InternVL). patch: over each part by itself (Qwen2.5-VL's ln_q)."""
    weight: torch.Tensor
    """[K] per row, [hidden] per patch"""
    bias: torch.Tensor | None
    eps: float


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    weight: torch.Tensor
    """[out, in]"""
    bias: torch.Tensor | None = None
    """[out]"""


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One launch of the fused kernel: out = act((weight·x − mean·sums)/std + bias)."""

    weight: torch.Tensor
    """[out, parts · padded hidden]"""
    bias: torch.Tensor
    """[out] fp32"""
    sums: torch.Tensor
    """[groups, out] fp32: the rounded weights' sum over what is normalised together"""


@dataclass(frozen=True, slots=True, eq=False)
class FoldedProjector:
    """Made by `fold_projector`."""

    linears: tuple[Linear, ...]
    """One or two, in the dtype of the product, on the device"""
    activation: Activation
    norm: Norm | None
    merge: Merge
    skip: int
    """Tokens in front of a tile's patches that are left out"""
    dtype: torch.dtype
    """Of the rows that come out, and of the hidden states that go in"""
    backend: Backend
    """What it was prepared for"""
    products: tuple[Product, ...]
    """For backend triton: the linears with the normalisation folded in; else none"""
    packed: tuple[torch.Tensor, ...]
    """For backend cpu where oneDNN is: the linears' weights in its own layout; else none"""

    @property
    def hidden(self) -> int:
        """Width of the hidden states."""
        return self.linears[0].weight.shape[1] // self.merge.parts

    @property
    def width(self) -> int:
        """Of the rows."""
        return self.linears[-1].weight.shape[0]

    @property
    def groups(self) -> int:
        """How many parts of a row are normalised each by itself."""
        return self.merge.parts if self.norm is not None and self.norm.per == "patch" else 1


def fold_projector(
    linears: Sequence[Linear],
    *,
    activation: str = "gelu",
    norm: Norm | None = None,
    merge: Merge | None = None,
    skip: int = 0,
    dtype: torch.dtype,
    device: torch.device | str,
    backend: Backend,
    weight_dtype: torch.dtype | None = None,
) -> FoldedProjector:
    """Prepare a tower's way out for one backend; tensors as its checkpoint holds them, on any device.

    Args:
        linears: one, or two with the activation in between; the first takes rows of factor² · hidden.
        activation: between the two, by transformers' name; without effect for one.
        norm: in front of the first, or None.
        merge: how patches make a row; by default each is one.
        skip: tokens in front of each tile's patches that are left out: 1 for a class token, more for registers.
        dtype: of the hidden states and of the rows; bf16, fp16 or fp32.
        device: where the folded tensors live.
        backend: of `choose_backend`, for `device`.
        weight_dtype: of the matrix products; by default what suits the device (`product_dtype`).

    Raises:
        ValueError: a shape, a dtype or a name that cannot be.
    """
    merge = merge or Merge()
    weight_dtype = weight_dtype or product_dtype(dtype, device)
    for name, value in (("dtype", dtype), ("weight_dtype", weight_dtype)):
        if value not in DTYPES:
            raise ValueError(f"{name}: got {value}, allowed are {', '.join(map(str, DTYPES))}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: got {activation!r}, allowed are {', '.join(map(repr, ACTIVATIONS))}")
    if backend not in BACKENDS:
        raise ValueError(f"backend: got {backend!r}, allowed are {', '.join(map(repr, BACKENDS))}")
    if skip < 0:
        raise ValueError(f"skip: got {skip}, must be 0 or more")
    _check_linears(linears, merge)
    if norm is not None:
        _check_norm(norm, linears[0].weight.shape[1], merge)

    def placed(tensor: torch.Tensor | None) -> torch.Tensor | None:
        # a copy always, so that the projector outlives the checkpoint's file
        return None if tensor is None else tensor.detach().to(device, weight_dtype, copy=True).contiguous()

    plain = tuple(Linear(_some(placed(one.weight)), placed(one.bias)) for one in linears)
    return FoldedProjector(
        linears=plain,
        activation=activation,
        norm=None
        if norm is None
        else Norm(norm.kind, norm.per, _some(placed(norm.weight)), placed(norm.bias), norm.eps),
        merge=merge,
        skip=skip,
        dtype=dtype,
        backend=backend,
        products=_products(linears, norm, merge, weight_dtype, device) if backend == "triton" else (),
        packed=tuple(_pack(one.weight) for one in plain)
        if backend == "cpu" and _packable(weight_dtype)
        else (),
    )


def _products(
    linears: Sequence[Linear],
    norm: Norm | None,
    merge: Merge,
    dtype: torch.dtype,
    device: torch.device | str,
) -> tuple[Product, ...]:
    """Worked out in fp64 on the CPU."""
    first, *rest = linears
    weight, bias = _exact(first.weight), _bias(first)
    groups = 1
    if norm is not None:
        repeats = weight.shape[1] // norm.weight.numel()  # per patch, every part has the same
        groups = repeats
        if norm.bias is not None:
            bias = bias + weight @ _exact(norm.bias).repeat(repeats)
        weight = weight * _exact(norm.weight).repeat(repeats)
    products = [_product(weight, bias, merge.parts, groups, dtype, device)]
    products += [_product(_exact(one.weight), _bias(one), 1, 1, dtype, device) for one in rest]
    return tuple(products)


def _product(
    weight: torch.Tensor,
    bias: torch.Tensor,
    parts: int,
    groups: int,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Product:
    by_part = torch.unflatten(weight, 1, (parts, -1))  # [out, parts, hidden]
    rounded = F.pad(by_part, (0, -by_part.shape[2] % ALIGNMENT)).flatten(1).to(dtype)
    sums = torch.unflatten(rounded.double(), 1, (groups, -1)).sum(2).T  # [groups, out]
    return Product(
        rounded.to(device), bias.to(device, torch.float32), sums.to(device, torch.float32).contiguous()
    )


def _pack(weight: torch.Tensor) -> torch.Tensor:
    """The weights in the blocks that oneDNN multiplies fastest, so that no call reorders them."""
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return packed


def _packable(dtype: torch.dtype) -> bool:
    """Whether this build and this processor have oneDNN's products for `dtype`."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def _check_linears(linears: Sequence[Linear], merge: Merge) -> None:
    if len(linears) not in (1, 2):
        raise ValueError(f"linears: got {len(linears)}, allowed are one or two")
    for position, one in enumerate(linears):
        name = f"linears[{position}]"
        if one.weight.ndim != 2 or not one.weight.numel():
            raise ValueError(f"{name}.weight: got shape {list(one.weight.shape)}, must be [out, in]")
        if one.bias is not None and one.bias.shape != one.weight.shape[:1]:
            raise ValueError(
                f"{name}.bias: got shape {list(one.bias.shape)}, must be [{one.weight.shape[0]}]"
            )
    if linears[0].weight.shape[1] % merge.parts:
        raise ValueError(
            f"linears[0].weight: got shape {list(linears[0].weight.shape)}, its second dimension must be a multiple "
            f"of {merge.parts}, the patches of a row"
        )
    if len(linears) == 2 and linears[1].weight.shape[1] != linears[0].weight.shape[0]:
        raise ValueError(
            f"linears[1].weight: got shape {list(linears[1].weight.shape)}, its second dimension must be "
            f"{linears[0].weight.shape[0]}, the width of the first"
        )


def _check_norm(norm: Norm, inputs: int, merge: Merge) -> None:
    if norm.kind not in ("layer", "rms"):
        raise ValueError(f"norm.kind: got {norm.kind!r}, allowed are 'layer', 'rms'")
    if norm.per not in ("row", "patch"):
        raise ValueError(f"norm.per: got {norm.per!r}, allowed are 'row', 'patch'")
    if not 0 < norm.eps < float("inf"):
        raise ValueError(f"norm.eps: got {norm.eps}, must be above 0")
    size = inputs if norm.per == "row" else inputs // merge.parts
    for name, tensor in (("weight", norm.weight), ("bias", norm.bias)):
        if tensor is not None and tuple(tensor.shape) != (size,):
            raise ValueError(f"norm.{name}: got shape {list(tensor.shape)}, must be [{size}] per {norm.per}")


def _bias(linear: Linear) -> torch.Tensor:
    if linear.bias is None:
        return torch.zeros(len(linear.weight), dtype=torch.float64)
    return _exact(linear.bias)


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float64)


def _some(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None
    return tensor
