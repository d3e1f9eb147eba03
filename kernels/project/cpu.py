"""project on a CPU: at most one copy, then oneDNN's products with bias and activation in their epilogue.

The weights were packed when they were folded, so that no call reorders them, and a value is rounded once per product
where the chain rounds twice. Many rows go through in slabs: what lies between the products stays in the cache, and
memory does not grow with the batch. Uses torch's own threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from kernels.project.fold import FoldedProjector
from kernels.project.gathered import normalised_rows
from kernels.project.reference import activate
from kernels.project.scatter import ScatterIndex

SLAB = 1024
"""Rows that go through together, or those of one tile where it has more and they cannot be parted."""
EPILOGUES = {
    "gelu": ("gelu", "none"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "silu": ("swish", ""),
    "relu": ("relu", ""),
}
"""oneDNN's name and algorithm; quick_gelu has none and is a step of its own."""


def project(
    hidden: torch.Tensor, folded: FoldedProjector, out: torch.Tensor, scatter: ScatterIndex | None
) -> None:
    """Write the rows of `hidden` into `out`, all already checked."""
    first = 0
    for slab in slabs(hidden, folded):
        rows = normalised_rows(slab, folded)
        for layer in range(len(folded.linears)):
            rows = _linear(rows, folded, layer)
        end = first + len(rows)
        if scatter is None:
            out.narrow(0, first, len(rows)).copy_(rows)
        else:
            out.index_copy_(0, scatter.rows[first:end], rows.to(out.dtype))
        first = end


def slabs(hidden: torch.Tensor, folded: FoldedProjector) -> Iterator[torch.Tensor]:
    """Views of the hidden states whose rows follow each other, each with the tokens to skip."""
    merge, skip = folded.merge, folded.skip
    tile_rows = merge.rows(hidden.shape[1] - skip)
    if len(hidden) * tile_rows <= SLAB:
        yield hidden
        return
    if tile_rows <= SLAB or merge.shuffles or skip:
        yield from torch.split(hidden, max(1, SLAB // tile_rows))
        return
    for tile in torch.split(hidden, 1):
        yield from torch.split(tile, SLAB * merge.parts, dim=1)


def _linear(rows: torch.Tensor, folded: FoldedProjector, layer: int) -> torch.Tensor:
    """One product with its bias, and the activation if another follows."""
    linear = folded.linears[layer]
    activation = folded.activation if layer + 1 < len(folded.linears) else None
    if not folded.packed:
        rows = F.linear(rows, linear.weight, linear.bias)
        return rows if activation is None else activate(rows, activation)
    name, algorithm = ("none", "") if activation is None else EPILOGUES.get(activation, ("none", ""))
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(
        rows, folded.packed[layer], linear.bias, name, [], algorithm
    )
    return activate(product, activation) if activation is not None and name == "none" else product
