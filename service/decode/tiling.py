"""Pixels and a tile plan to tiles: pure torch on the CPU, uint8 throughout.

The resize is torch's antialiased bicubic on HWC-strided bytes: the very pixels of transformers' torchvision-backed
image processors, in an eighth of Pillow's time. Knows no model family.
"""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from service.domain import TilePlan, View


def cut(pixels: torch.Tensor, plan: TilePlan) -> list[torch.Tensor]:
    """For each view of the plan its tiles, row by row: uint8 [h, w, 3] → uint8 [n, tile_h, tile_w, 3], contiguous.

    Pixels may have a fourth byte, which nobody looks at: that is how Pillow keeps them. Raises ValueError when `pixels`
    is no uint8 [h, w, 3 or 4], or a view is no whole number of tiles.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or 0 in pixels.shape:
        raise ValueError(f"pixels are uint8 [h, w, 3 or 4], not {pixels.dtype} {list(pixels.shape)}")
    pixels = pixels.contiguous()
    return [_tiles(pixels, view) for view in plan.views]


def resize(pixels: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """uint8 [h, w, 3 or 4], contiguous → uint8 [height, width, 3]; pixels of that size already stay as they are."""
    h, w, channels = pixels.shape
    if (h, w) == (height, width):
        return pixels[..., :3]
    # a batch stride of a whole image tells torch that this is channels_last, also where a side is 1
    image = pixels.as_strided((1, channels, h, w), (h * w * channels, 1, w * channels, channels))
    resized = interpolate(image, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized[0, :3].permute(1, 2, 0)


def _tiles(pixels: torch.Tensor, view: View) -> torch.Tensor:
    rows, rest_h = divmod(view.height, view.tile_height)
    columns, rest_w = divmod(view.width, view.tile_width)
    if rest_h or rest_w or not rows or not columns:
        raise ValueError(
            f"a view of {view.width}×{view.height} is no whole number of {view.tile_width}×{view.tile_height} tiles"
        )
    image = resize(pixels, view.width, view.height)
    tiles = image.reshape(rows, view.tile_height, columns, view.tile_width, 3)
    # [n, tile_h, tile_w, 3]
    return tiles.transpose(1, 2).reshape(-1, view.tile_height, view.tile_width, 3).contiguous()
