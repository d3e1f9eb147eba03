"""What project accepts and returns, checked the same for every backend."""

from __future__ import annotations

import torch

from kernels.backend import Backend
from kernels.project.fold import FoldedProjector
from kernels.project.scatter import ScatterIndex


def count_rows(hidden: torch.Tensor, folded: FoldedProjector, backend: Backend) -> int:
    """Check the hidden states against the folded projector; the number of rows to come.

    Raises:
        ValueError: prepared for another backend; other dtype, width or device than the projector's; channels that
            are not adjacent; or patches that do not make whole rows.
    """
    if backend not in (folded.backend, "reference"):
        raise ValueError(
            f"backend: got {backend!r}, the projector was folded for {folded.backend!r}: fold it for {backend!r}"
        )
    if hidden.ndim != 3 or hidden.dtype != folded.dtype or hidden.shape[2] != folded.hidden:
        raise ValueError(
            f"hidden: got {hidden.dtype} {list(hidden.shape)}, "
            f"must be {folded.dtype} [tiles, {folded.skip} + patches, {folded.hidden}]"
        )
    device = folded.linears[0].weight.device
    if hidden.device != device:
        raise ValueError(f"hidden: got a tensor on {hidden.device}, the folded projector is on {device}")
    if hidden.stride(2) != 1:
        raise ValueError(
            f"hidden: got strides {list(hidden.stride())}, the last must be 1; tiles and tokens may lie at any "
            "distance"
        )
    if hidden.shape[1] <= folded.skip:
        raise ValueError(
            f"hidden: got {hidden.shape[1]} tokens in a tile, must be more than the {folded.skip} to skip"
        )
    return len(hidden) * folded.merge.rows(hidden.shape[1] - folded.skip)


def check_out(out: torch.Tensor, rows: int, folded: FoldedProjector, scatter: ScatterIndex | None) -> None:
    """Check a tensor of the caller's to write into.

    Raises:
        ValueError: wrong shape, dtype or device, rows that are not contiguous or overlap, or scatter that are not
            one for each row.
    """
    device = folded.linears[0].weight.device
    if scatter is not None and (len(scatter.rows) != rows or scatter.rows.device != device):
        raise ValueError(
            f"scatter: got {len(scatter.rows)} on {scatter.rows.device}, must be {rows} on {device}, one for each row"
        )
    fits = len(out) == rows if scatter is None else len(out) >= scatter.reach
    needed = f"{rows}" if scatter is None else f"at least {scatter.reach}"
    if (
        out.ndim != 2
        or not fits
        or out.shape[1] != folded.width
        or out.dtype != folded.dtype
        or out.device != device
    ):
        raise ValueError(
            f"out: got {out.dtype} {list(out.shape)} on {out.device}, "
            f"must be {folded.dtype} [{needed}, {folded.width}] on {device}"
        )
    if out.stride(1) != 1 or (len(out) > 1 and out.stride(0) < folded.width):
        raise ValueError(
            f"out: got strides {list(out.stride())}, rows of {folded.width} elements must be contiguous and apart"
        )
