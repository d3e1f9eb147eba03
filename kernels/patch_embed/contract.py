"""What patch_embed accepts and returns, checked the same for every backend."""

from __future__ import annotations

import torch

from kernels.patch_embed.fold import FoldedPatchEmbed


def output_shape(tiles: torch.Tensor, folded: FoldedPatchEmbed) -> tuple[int, int, int]:
    """Check the tiles against the folded weights; [tiles, prefix + patches, hidden] of the tokens to come.

    Raises:
        ValueError: not uint8 HWC with adjacent colours, not a multiple of the patch, not the number of patches
            that the positions are for, or on another device than the weights.
    """
    if tiles.dtype != torch.uint8 or tiles.ndim != 4 or tiles.shape[3] != 3:
        raise ValueError(
            f"tiles: got {tiles.dtype} {list(tiles.shape)}, must be torch.uint8 [tiles, height, width, 3]"
        )
    if tiles.stride(3) != 1:
        raise ValueError(
            f"tiles: got strides {list(tiles.stride())}, the last must be 1 (HWC, a pixel's colours adjacent); "
            "tiles, lines and pixels may lie at any distance"
        )
    if tiles.device != folded.weight.device:
        raise ValueError(
            f"tiles: got a tensor on {tiles.device}, the folded weights are on {folded.weight.device}"
        )
    count, height, width, _ = tiles.shape
    size = folded.patch_size
    rows, columns = height // size, width // size
    if rows == 0 or columns == 0 or height % size or width % size:
        raise ValueError(
            f"tiles: got {height}×{width} pixels, must be multiples of the patch size {size}; to drop the rest as "
            f"a strided convolution does, pass tiles[:, :{rows * size}, :{columns * size}]"
        )
    if folded.patches is not None and rows * columns != folded.patches:
        raise ValueError(
            f"tiles: got {rows}×{columns} = {rows * columns} patches, the folded positions are for "
            f"{folded.patches}; interpolate the positions and fold again"
        )
    return count, folded.prefix + rows * columns, folded.hidden


def check_out(out: torch.Tensor, shape: tuple[int, int, int], folded: FoldedPatchEmbed) -> None:
    """Check a tensor of the caller's to write into.

    Raises:
        ValueError: wrong shape, dtype or device, or rows that are not contiguous or overlap.
    """
    device = folded.weight.device
    if tuple(out.shape) != shape or out.dtype != folded.dtype or out.device != device:
        raise ValueError(
            f"out: got {out.dtype} {list(out.shape)} on {out.device}, "
            f"must be {folded.dtype} {list(shape)} on {device}"
        )
    count, tokens, hidden = shape
    row, tile = (out.stride(1) if tokens > 1 else hidden), out.stride(0)
    if out.stride(2) != 1 or row < hidden or (count > 1 and tile < (tokens - 1) * row + hidden):
        raise ValueError(
            f"out: got strides {list(out.stride())}, rows of {hidden} elements must be contiguous and apart"
        )
