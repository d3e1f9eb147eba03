"""Where each row goes in a packed output: an index, checked once, used in the store of the last product.

Rows are given by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kernels.transfer import send


@dataclass(frozen=True, slots=True, eq=False)
class ScatterIndex:
    """Made by `scatter_index` or `scatter_spans`; no two rows have the same place."""

    rows: torch.Tensor
    """int64 [rows], the row of the output for each row made, on the device"""
    reach: int
    """How many rows the output must have"""


def scatter_index(scatter: Sequence[int] | torch.Tensor, *, device: torch.device | str) -> ScatterIndex:
    """One place for each row, in any order: undoes a permutation (Qwen2.5-VL's windows), too.

    Raises:
        ValueError: not a list of integers, a negative place, or one that is given twice.
    """
    rows = torch.as_tensor(scatter, device="cpu")
    if rows.numel() == 0:
        rows = rows.to(torch.int64)
    if rows.ndim != 1 or rows.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"scatter: got {rows.dtype} {list(rows.shape)}, must be integers, one per row")
    if len(rows) == 0:
        return ScatterIndex(rows.to(device), 0)
    ordered = rows.sort().values
    if ordered[0] < 0:
        raise ValueError(f"scatter: got {int(ordered[0])}, must be 0 or more")
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise ValueError(f"scatter: got {int(twice[0])} more than once, each row needs a place of its own")
    return ScatterIndex(send(rows.to(torch.int64), device), int(ordered[-1]) + 1)


def scatter_spans(
    starts: Sequence[int], counts: Sequence[int], *, device: torch.device | str
) -> ScatterIndex:
    """`counts[i]` rows, in their order, from row `starts[i]` on: a span for each tile or for each image.

    Raises:
        ValueError: another number of starts than of counts, a negative one, or spans that overlap.
    """
    if len(starts) != len(counts):
        raise ValueError(f"counts: got {len(counts)} for {len(starts)} starts, must be as many")
    if any(count < 0 for count in counts):
        raise ValueError(f"counts: got {min(counts)}, must be 0 or more")
    spans = [torch.arange(start, start + count) for start, count in zip(starts, counts, strict=True)]
    return scatter_index(torch.cat(spans) if spans else [], device=device)
