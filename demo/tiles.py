"""Cuts a picture into tiles exactly as transformers' GotOcr2ImageProcessor does, without its overhead.

Equality with the processor is held by a test. The thumbnail comes last; a picture of one tile has no other.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from demo.world import TILE

Rect = tuple[float, float, float, float]


def grid(width: int, height: int, max_tiles: int) -> tuple[int, int]:
    """Columns and rows of tiles for a picture of this size in pixels."""
    columns, rows = get_optimal_tiled_canvas((height, width), (TILE, TILE), 1, max_tiles)
    return columns, rows


def rects(width: int, height: int, max_tiles: int) -> list[Rect]:
    """The part of the picture (left, top, right, bottom, in its pixels) that each tile shows, thumbnail last."""
    columns, rows = grid(width, height, max_tiles)
    parts = [
        (c * width / columns, r * height / rows, (c + 1) * width / columns, (r + 1) * height / rows)
        for r in range(rows)
        for c in range(columns)
    ]
    return parts if len(parts) == 1 else [*parts, (0.0, 0.0, float(width), float(height))]


def _resize(pixels: torch.Tensor, width: int, height: int) -> torch.Tensor:
    if pixels.shape[-2:] == (height, width):
        return pixels
    return interpolate(pixels, (height, width), mode="bicubic", antialias=True, align_corners=False)


def cut(picture: np.ndarray, max_tiles: int) -> torch.Tensor:
    """uint8 [height, width, 3] → uint8 [tiles, 3, 112, 112]."""
    height, width, _ = picture.shape
    columns, rows = grid(width, height, max_tiles)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]  # [1, 3, height, width]
    large = _resize(pixels, columns * TILE, rows * TILE)[0]
    tiles = large.reshape(3, rows, TILE, columns, TILE).permute(1, 3, 0, 2, 4).reshape(-1, 3, TILE, TILE)
    if len(tiles) == 1:
        return tiles.contiguous()
    return torch.cat([tiles, _resize(pixels, TILE, TILE)])
