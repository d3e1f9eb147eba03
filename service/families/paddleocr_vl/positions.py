"""PaddleOCR-VL's table of positions, resampled to the grid of each image: bilinear, its edges at the image's edges.

So vLLM reads it, and the code with which the checkpoints were released. transformers has put the table's corners into
the image's corners instead since a version 5; soft tokens then differ, by tenths where the grid is small.
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

import torch

from kernels.varlen import PackedSequence
from kernels.varlen import resample as resample_by_corners


def resample(table: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
    """What the table says of each token's place: fp32 [side², hidden], row by row → fp32 [tokens, hidden].

    Entries are the middles of squares; beyond the outermost it goes on as they are.
    """
    side = isqrt(len(table))
    middles = (sequence.positions + 0.5) * side / sequence.sizes - 0.5  # [tokens, (row, column)]
    in_table = replace(
        sequence, positions=middles.clamp_(0, side - 1), sizes=torch.full_like(sequence.sizes, side)
    )
    return resample_by_corners(table, in_table)
