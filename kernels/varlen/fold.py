"""Everything about a block that does not depend on the image, worked out once.

- query, key and value become one product; their rows are put in such an order that the two numbers that turn with each
  other lie side by side, as a complex number's parts do. Query and key in the same order: their products stay;
- the MLP's width is padded with zeros to whole cache lines (Qwen2.5-VL's 3420 is a multiple of 4 alone, which slows
  every matrix product on a GPU);
- quick_gelu(y) = silu(1.702·y) / 1.702: the factors go into the products before and after;
- on a CPU weights lie as oneDNN reads them, and the activation is its epilogue.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from kernels.activation.reference import QUICK, Activation, activate
from kernels.add_norm import NormKind
from kernels.backend import Backend
from kernels.blocks.choice import obstacle_to_packing
from kernels.blocks.fold import EPILOGUES, join, pack_linear, scaled
from kernels.blocks.reference import Affine
from kernels.blocks.residual import Activated, Map, Product
from kernels.eight_bit import Precision, pack_fp8
from kernels.varlen.reference import VarlenBlock

ALIGNMENT = 64
"""The MLP's width is padded to a multiple of this: 128 bytes in bf16."""

_EPILOGUES: dict[str, tuple[str, str]] = {"silu": ("swish", ""), **EPILOGUES}


@dataclass(frozen=True, slots=True, eq=False)
class FoldedBlock:
    norm_before: Affine
    qkv: Map
    """[..., hidden] → [..., 3 · hidden], query's and key's pairs side by side"""
    out: Map
    norm_after: Affine
    inner: Map
    """[..., hidden] → [..., padded MLP], the activation and the gate included"""
    down: Map
    heads: int
    scale: float
    """of the attention's scores, heads' width ** -0.5"""
    eps: tuple[float, float]
    norm: NormKind


def fold(
    p: VarlenBlock,
    dtype: torch.dtype,
    device: torch.device,
    precision: Precision = "full",
    between: Backend | None = None,
) -> FoldedBlock:
    """The block for products in `dtype` on `device`; shares no memory with it.

    `between`: the implementation of the kernel for activations; None: torch's, on a CPU oneDNN's epilogues.

    Raises ValueError when a head's width is no multiple of four: pairs for the row and pairs for the column.
    """
    if p.width % 4 or p.width * p.heads != len(p.query.weight):
        raise ValueError(
            f"heads: got {p.heads} for {len(p.query.weight)} numbers, each must have a multiple of four"
        )
    pairs = torch.arange(p.width).view(2, -1).T.flatten()
    qkv = join(_ordered(p.query, pairs, p.heads), _ordered(p.key, pairs, p.heads), p.value)
    packs = between is None and (
        precision == "int8" or (precision == "full" and obstacle_to_packing(device, dtype) is None)
    )
    mlp = _fold_mlp(p)

    def own(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(device, dtype, copy=True).contiguous()

    def placed(part: Affine) -> Affine:
        return Affine(own(part.weight), None if part.bias is None else own(part.bias))

    def linear(part: Affine, activation: Activation | None = None) -> Map:
        if packs:
            epilogue = ("none", "") if activation is None else _EPILOGUES[activation]
            return pack_linear(part, dtype, epilogue, precision)
        product: Map = (
            pack_fp8(part.weight, part.bias, dtype, device) if precision == "fp8" else Product(placed(part))
        )
        return product if activation is None else _Activated(product, activation)

    inner: Map
    if between is not None:
        first = mlp.up if mlp.gate is None else join(mlp.gate, mlp.up)
        inner = Activated(linear(first), mlp.activation, mlp.gate is not None, between)
    elif mlp.gate is None:
        inner = linear(mlp.up, mlp.activation)
    elif packs:
        inner = _Gated(linear(mlp.gate, mlp.activation), linear(mlp.up))
    else:
        inner = _GatedTogether(linear(join(mlp.gate, mlp.up)), mlp.activation)
    return FoldedBlock(
        norm_before=placed(p.norm_before),
        qkv=linear(qkv),
        out=linear(p.out),
        norm_after=placed(p.norm_after),
        inner=inner,
        down=linear(mlp.down),
        heads=p.heads,
        scale=p.width**-0.5,
        eps=p.eps,
        norm=p.norm,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _MLP:
    gate: Affine | None
    up: Affine
    down: Affine
    activation: Activation


def _fold_mlp(p: VarlenBlock) -> _MLP:
    """Padded, and without quick_gelu."""
    padding = -len(p.up.weight) % ALIGNMENT
    up, gate = _more_outputs(p.up, padding), None if p.gate is None else _more_outputs(p.gate, padding)
    down = Affine(F.pad(p.down.weight, (0, padding)), p.down.bias)
    if p.activation != "quick_gelu":
        return _MLP(gate, up, down, p.activation)
    down = scaled(down, None, inputs=1 / QUICK)
    if gate is None:
        return _MLP(None, scaled(up, QUICK), down, "silu")
    return _MLP(scaled(gate, QUICK), up, down, "silu")


@dataclass(frozen=True, slots=True, eq=False)
class _Activated:
    product: Map
    activation: Activation

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return activate(self.product(x), self.activation)


@dataclass(frozen=True, slots=True, eq=False)
class _Gated:
    gate: Map
    """activation included"""
    up: Map

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.gate(x).mul_(self.up(x))


@dataclass(frozen=True, slots=True, eq=False)
class _GatedTogether:
    """One product for both, where two take longer."""

    gate_and_up: Map
    activation: Activation

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_and_up(x).chunk(2, -1)
        return activate(gate, self.activation).mul_(up)


def _ordered(part: Affine, pairs: torch.Tensor, heads: int) -> Affine:
    """The layer with each head's outputs in another order."""
    order = (torch.arange(heads)[:, None] * len(pairs) + pairs).flatten().to(part.weight.device)
    return Affine(part.weight[order], None if part.bias is None else part.bias[order])


def _more_outputs(part: Affine, count: int) -> Affine:
    return Affine(
        F.pad(part.weight, (0, 0, 0, count)), None if part.bias is None else F.pad(part.bias, (0, count))
    )
