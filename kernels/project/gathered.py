"""The projector's input as one matrix, for the providers whose product cannot gather by itself.

At most one copy, in which the numbers also become those of the product; none where the patches already lie so.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kernels.project.fold import FoldedProjector
from kernels.project.merge import Merge


def normalised_rows(hidden: torch.Tensor, folded: FoldedProjector) -> torch.Tensor:
    """[tiles, skip + patches, hidden] → [tiles · rows of a tile, parts · hidden], in the dtype of the product."""
    rows = gather(hidden[:, folded.skip :], folded.merge, folded.linears[0].weight.dtype)
    norm = folded.norm
    if norm is None:
        return rows
    size = (norm.weight.numel(),)
    together = rows.view(-1, *size)  # a row, or a patch of it
    if norm.kind == "layer":
        together = F.layer_norm(together, size, norm.weight, norm.bias, norm.eps)
    else:
        together = F.rms_norm(together, size, norm.weight, norm.eps)
        together = together if norm.bias is None else together + norm.bias
    return together.view(rows.shape)


def gather(patches: torch.Tensor, merge: Merge, dtype: torch.dtype) -> torch.Tensor:
    """[tiles, patches, hidden] → [tiles · rows of a tile, parts · hidden]; a view where that can be one."""
    tiles, count, hidden = patches.shape
    if merge.shuffles:
        coarse = merge.side(count) // merge.factor
        grid = patches.view(tiles, coarse, merge.factor, coarse, merge.factor, hidden)
        patches = grid.transpose(2, 3)  # [tiles, coarse, coarse, factor, factor, hidden]
    shape = (tiles * merge.rows(count), merge.parts * hidden)
    if patches.dtype == dtype:
        return patches.reshape(shape)
    rows = torch.empty(shape, dtype=dtype, device=patches.device)
    rows.view(patches.shape).copy_(patches)
    return rows
