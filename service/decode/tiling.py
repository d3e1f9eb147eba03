"""Pixels and views to tiles: pure torch on the CPU, uint8 throughout.

The resize is torch's antialiased one on HWC-strided bytes: the very pixels of transformers' torchvision-backed image
processors, in an eighth of Pillow's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch.nn.functional import interpolate

from service.domain import Filter, View

_Made: TypeAlias = dict[tuple[object, ...], torch.Tensor]
"""Resized images by how they were made: crop, filter, and the sizes one after the other."""


def cut(pixels: torch.Tensor, views: Sequence[View]) -> list[torch.Tensor]:
    """For each view its tiles, row by row: uint8 [h, w, 3] → uint8 [n, tile_h, tile_w, 3], contiguous.

    Pixels may have a fourth byte, which nobody looks at: that is how Pillow keeps them. Raises ValueError when `pixels`
    is no uint8 [h, w, 3 or 4], or a view is no whole number of tiles.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or 0 in pixels.shape:
        raise ValueError(f"pixels are uint8 [h, w, 3 or 4], not {pixels.dtype} {list(pixels.shape)}")
    pixels = pixels.contiguous()
    made: _Made = {}
    return [_tiles(pixels, view, made) for view in views]


def resize(pixels: torch.Tensor, width: int, height: int, filter: Filter = Filter.BICUBIC) -> torch.Tensor:
    """uint8 [h, w, 3 or 4], contiguous → uint8 [height, width, 3]; pixels of that size already stay as they are."""
    h, w, channels = pixels.shape
    if (h, w) == (height, width):
        return pixels[..., :3]
    # a batch stride of a whole image tells torch that this is channels_last, also where a side is 1
    image = pixels.as_strided((1, channels, h, w), (h * w * channels, 1, w * channels, channels))
    resized = interpolate(image, (height, width), mode=filter, antialias=True, align_corners=False)
    return resized[0, :3].permute(1, 2, 0)


def _resized(image: torch.Tensor, view: View, made: _Made) -> torch.Tensor:
    """The view's crop after all resizes: uint8 [h, w, 3]. What another view made on its way is not made again."""
    if view.crop is not None:
        left, top, width, height = view.crop
        image = image[top : top + height, left : left + width]
    steps: tuple[object, ...] = (view.crop, view.filter)
    for size in (*view.via, view.resize or (view.width, view.height)):
        steps = (*steps, size)
        if steps not in made:
            made[steps] = resize(image.contiguous(), *size, view.filter)
        image = made[steps]
    return image


def _canvas(pixels: torch.Tensor, view: View, made: _Made) -> torch.Tensor:
    """What the view cuts its tiles from: uint8 [height, width, 3]."""
    image = _resized(pixels, view, made)
    h, w, _ = image.shape
    left, top = view.offset
    if (left, top, w, h) == (0, 0, view.width, view.height):
        return image
    canvas = torch.tensor(view.fill, dtype=torch.uint8).expand(view.height, view.width, 3).contiguous()
    # where the image lies on the canvas, and what of it that is
    x, y = max(left, 0), max(top, 0)
    right, bottom = max(x, min(left + w, view.width)), max(y, min(top + h, view.height))
    canvas[y:bottom, x:right] = image[y - top : bottom - top, x - left : right - left]
    return canvas


def _tiles(pixels: torch.Tensor, view: View, made: _Made) -> torch.Tensor:
    rows, rest_h = divmod(view.height, view.tile_height)
    columns, rest_w = divmod(view.width, view.tile_width)
    if rest_h or rest_w or not rows or not columns:
        raise ValueError(
            f"a view of {view.width}×{view.height} is no whole number of {view.tile_width}×{view.tile_height} tiles"
        )
    image = _canvas(pixels, view, made)
    tiles = image.reshape(rows, view.tile_height, columns, view.tile_width, 3)
    # [n, tile_h, tile_w, 3]
    return tiles.transpose(1, 2).reshape(-1, view.tile_height, view.tile_width, 3).contiguous()
