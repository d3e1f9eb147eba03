"""Everything about a block that does not depend on the image, worked out once.

- query, key and value become one product; their rows are put in such an order that the two numbers that turn with each
  other lie side by side, as a complex number's parts do. Query and key in the same order: their products stay;
- the MLP's width is padded with zeros to whole cache lines (Qwen2.5-VL's 3420 is a multiple of 4 alone, which slows
  every matrix product on a GPU);
- on a CPU weights lie as oneDNN reads them, and SiLU is its epilogue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from kernels.blocks.choice import obstacle_to_packing
from kernels.blocks.fold import join, pack_linear
from kernels.blocks.reference import Affine
from kernels.varlen.reference import VarlenBlock

ALIGNMENT = 64
"""The MLP's width is padded to a multiple of this: 128 bytes in bf16."""

Map = Callable[[torch.Tensor], torch.Tensor]
"""[..., inputs] → [..., outputs]"""


@dataclass(frozen=True, slots=True, eq=False)
class FoldedBlock:
    norm_before: torch.Tensor
    """[hidden]"""
    qkv: Map
    """[..., hidden] → [..., 3 · hidden], query's and key's pairs side by side"""
    out: Map
    norm_after: torch.Tensor
    gated: Map
    """[..., hidden] → [..., padded MLP], silu(gate) · up"""
    down: Map
    heads: int
    scale: float
    """of the attention's scores, heads' width ** -0.5"""
    eps: tuple[float, float]


def fold(p: VarlenBlock, dtype: torch.dtype, device: torch.device) -> FoldedBlock:
    """The block for products in `dtype` on `device`; shares no memory with it.

    Raises ValueError when a head's width is no multiple of four: pairs for the row and pairs for the column.
    """
    if p.width % 4 or p.width * p.heads != len(p.query.weight):
        raise ValueError(
            f"heads: got {p.heads} for {len(p.query.weight)} numbers, each must have a multiple of four"
        )
    pairs = torch.arange(p.width).view(2, -1).T.flatten()
    qkv = join(_ordered(p.query, pairs, p.heads), _ordered(p.key, pairs, p.heads), p.value)
    padding = -len(p.up.weight) % ALIGNMENT
    gate, up = _more_outputs(p.gate, padding), _more_outputs(p.up, padding)
    down = Affine(F.pad(p.down.weight, (0, padding)), p.down.bias)
    packs = obstacle_to_packing(device, dtype) is None
    gated: Map

    def own(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(device, dtype, copy=True).contiguous()

    def linear(part: Affine) -> Map:
        if packs:
            return pack_linear(part, dtype)
        return _Linear(own(part.weight), None if part.bias is None else own(part.bias))

    if packs:
        gated = _Gated(pack_linear(gate, dtype, ("swish", "")), pack_linear(up, dtype))
    else:
        gated = _GatedTogether(linear(join(gate, up)))
    return FoldedBlock(
        norm_before=own(p.norm_before.weight),
        qkv=linear(qkv),
        out=linear(p.out),
        norm_after=own(p.norm_after.weight),
        gated=gated,
        down=linear(down),
        heads=p.heads,
        scale=p.width**-0.5,
        eps=p.eps,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    weight: torch.Tensor
    bias: torch.Tensor | None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True, eq=False)
class _Gated:
    gate: Map
    """SiLU included"""
    up: Map

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.gate(x).mul_(self.up(x))


@dataclass(frozen=True, slots=True, eq=False)
class _GatedTogether:
    """One product for both, where two take longer."""

    gate_and_up: Map

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_and_up(x).chunk(2, -1)
        return F.silu(gate).mul_(up)


def _ordered(part: Affine, pairs: torch.Tensor, heads: int) -> Affine:
    """The layer with each head's outputs in another order."""
    order = (torch.arange(heads)[:, None] * len(pairs) + pairs).flatten().to(part.weight.device)
    return Affine(part.weight[order], None if part.bias is None else part.bias[order])


def _more_outputs(part: Affine, count: int) -> Affine:
    return Affine(
        F.pad(part.weight, (0, 0, 0, count)), None if part.bias is None else F.pad(part.bias, (0, count))
    )
