"""A learned table of positions, resampled to the grid of each image.

Qwen3-VL (arXiv 2511.21631) keeps a square table; bilinear, its corners at the image's corners.
"""

from __future__ import annotations

from math import isqrt

import torch
import torch.nn.functional as F

from kernels.varlen.sequence import PackedSequence


def resample(table: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
    """What the table says of each token's place: fp32 [tokens, hidden].

    Args:
        table: fp32 [side², hidden], row by row, on the sequence's device.

    Raises:
        ValueError: the table is not square.
    """
    side = isqrt(len(table))
    if side * side != len(table):
        raise ValueError(f"table: got {len(table)} positions, must be a square number")
    at = sequence.positions.float() * (side - 1) / (sequence.sizes - 1).clamp(min=1)  # [tokens, 2]
    before = at.floor()
    after = (before + 1).clamp(max=side - 1)
    share = at - before
    rows, columns = torch.stack((before, after), -1).long().unbind(1)  # [tokens, 2] each
    row_shares, column_shares = torch.stack((1 - share, share), -1).unbind(1)
    index = rows[:, :, None] * side + columns[:, None]  # [tokens, 2, 2]
    shares = row_shares[:, :, None] * column_shares[:, None]
    return F.embedding_bag(index.flatten(1), table, per_sample_weights=shares.flatten(1), mode="sum")
