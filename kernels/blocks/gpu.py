"""The blocks of a tower of tiles on a GPU: torch's products and attention, and between them one kernel each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from kernels.add_norm import NormKind
from kernels.backend import Backend
from kernels.blocks.fold import join, scaled
from kernels.blocks.reference import Affine, Block
from kernels.blocks.residual import Activated, Map, Product, through
from kernels.eight_bit import Precision, pack_fp8


class KernelBlocks:
    """The blocks of one tower in `dtype` on the device where they are; used by one thread at a time.

    Weights that are in that dtype and need no folding are shared with the blocks that were given. The caller has asked
    `choose_body` whether this machine can do it.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        dtype: torch.dtype,
        backend: Backend = "triton",
        precision: Precision = "full",
    ) -> None:
        """`precision`: of the linear layers; "full" or "fp8". Raises CannotQuantise."""
        with torch.inference_mode():
            self._blocks = [fold(block, dtype, backend, precision) for block in blocks]
        self._backend: Backend = backend

    @torch.inference_mode()
    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """[images, tokens, hidden], contiguous, in the dtype of the weights: changed in place, and returned."""
        images = len(hidden)
        layers = [(block, partial(_attention, images, block)) for block in self._blocks]
        through(hidden.view(-1, hidden.shape[2]), layers, self._backend)
        return hidden


@dataclass(frozen=True, slots=True, eq=False)
class FoldedBlock:
    """Satisfies `residual.Residual`."""

    norm_before: Affine
    qkv: Map
    out: Map
    norm_after: Affine
    inner: Activated
    down: Map
    heads: int
    scale: float
    eps: tuple[float, float]
    norm: NormKind = "layer"


def fold(block: Block, dtype: torch.dtype, backend: Backend, precision: Precision = "full") -> FoldedBlock:
    """Query, key and value as one product, layer scale in the weights in front of it."""
    first, second = block.layer_scale or (None, None)

    def rounded(part: Affine) -> Affine:
        bias = None if part.bias is None else part.bias.detach().to(dtype)
        return Affine(part.weight.detach().to(dtype), bias)

    def folded(part: Affine, scale: torch.Tensor | None = None) -> Map:
        part = part if scale is None else scaled(part, scale)
        if precision == "fp8":
            return pack_fp8(part.weight, part.bias, dtype, part.weight.device)
        return Product(rounded(part))

    return FoldedBlock(
        norm_before=rounded(block.norm_before),
        qkv=folded(join(block.query, block.key, block.value)),
        out=folded(block.out, first),
        norm_after=rounded(block.norm_after),
        inner=Activated(folded(block.up), block.activation, False, backend),
        down=folded(block.down, second),
        heads=block.heads,
        scale=block.scale,
        eps=block.eps,
    )


def _attention(images: int, p: FoldedBlock, qkv: torch.Tensor) -> torch.Tensor:
    """[images · tokens, 3 · hidden] → [images · tokens, hidden]; query, key and value are views."""
    apart = torch.unflatten(torch.unflatten(qkv, 0, (images, -1)), 2, (3, p.heads, -1))
    query, key, value = apart.permute(2, 0, 3, 1, 4)  # [images, heads, tokens, width] each
    seen = F.scaled_dot_product_attention(query, key, value, scale=p.scale)
    return seen.transpose(1, 2).reshape(len(qkv), -1)
