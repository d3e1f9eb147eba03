"""GLM-4.1V's table of positions, resampled to the grid of each image: bicubic, as `Glm4vVisionEmbeddings` does it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kernels.varlen import PackedSequence


def resample(table: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
    """fp32 [rows, columns, hidden] → what it says of each token's place, fp32 [tokens, hidden].

    The table covers the image, each entry the middle of a rectangle; beyond the outermost it goes on as they are.
    """
    # of -1…1, [tokens, (row, column)]
    at = (sequence.positions.float() + 0.5) / sequence.sizes * 2 - 1
    found = F.grid_sample(
        table.permute(2, 0, 1)[None],
        at.flip(1)[None, :, None],  # [1, tokens, 1, (x, y)]
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )  # [1, hidden, tokens, 1]
    return found[0, :, :, 0].T
