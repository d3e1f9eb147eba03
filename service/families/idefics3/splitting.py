"""Idefics3's image splitting: to which sizes an image is resized on its way to whole tiles. Arithmetic only.

Sizes are (width, height) in pixels. The rules are those of transformers' Idefics3ImageProcessor, down to the order in
which floats are divided, and tests hold the two equal.
"""

from __future__ import annotations

from math import ceil

Size = tuple[int, int]


def enlarged(width: int, height: int, longest: int) -> Size:
    """The longer side becomes `longest`, whether it was shorter or not; the other one follows, and becomes even."""
    ratio = width / height
    if width >= height:
        return longest, max(1, _even(int(longest / ratio)))
    return max(1, _even(int(longest * ratio))), longest


def whole_tiles(width: int, height: int, tile: int) -> Size:
    """Both sides become multiples of `tile`, so that the image may lose its shape a little."""
    ratio = width / height
    if width >= height:
        width = _up(width, tile)
        return width, _up(int(width / ratio), tile)
    height = _up(height, tile)
    return _up(int(height * ratio), tile), height


def _even(side: int) -> int:
    return side + side % 2


def _up(side: int, tile: int) -> int:
    return ceil(side / tile) * tile
