"""The size that an image is brought to: whole cells, about its own shape, within bounds on its pixels. Arithmetic only.

`smart_resize` is Qwen2-VL's (Wang et al. 2024, arXiv:2409.12191) in the form of transformers' Qwen2VLImageProcessor:
Python's rounding of halves to even and its roundings down and up are part of it, and a test holds the two equal. A
*cell* is a square of `factor` pixels a side.
"""

from __future__ import annotations

from math import ceil, floor, isqrt, sqrt

MAX_RATIO = 200
"""Of an image's longer side to its shorter one; transformers refuses more."""


def smart_resize(width: int, height: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(width, height) in pixels, multiples of `factor`.

    A side is never shorter than a cell, so that a narrow strip may pass `max_pixels`, and rounding up may, where
    `min_pixels` is near to it. Raises ValueError for sides whose ratio passes MAX_RATIO.
    """
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ValueError(
            f"the longer side is at most {MAX_RATIO} times the shorter one, not {width} × {height}"
        )
    columns, rows = round(width / factor), round(height / factor)
    if columns * rows * factor**2 > max_pixels:
        beta = sqrt(width * height / max_pixels)
        columns, rows = max(1, floor(width / beta / factor)), max(1, floor(height / beta / factor))
    elif columns * rows * factor**2 < min_pixels:
        beta = sqrt(min_pixels / (width * height))
        columns, rows = ceil(width * beta / factor), ceil(height * beta / factor)
    return columns * factor, rows * factor


def shrink(width: int, height: int, factor: int, cells: int) -> tuple[int, int]:
    """(width, height) of at most `cells` cells: what `smart_resize` makes of an image that is too large for them.

    Where that would pass `cells`, as a strip narrower than one of them does, the strip becomes one row of `cells`. More
    cells never make a side shorter.
    """
    beta = sqrt(width * height / (cells * factor**2))
    columns, rows = (min(cells, max(1, floor(side / beta / factor))) for side in (width, height))
    return columns * factor, rows * factor


def most_cells(factor: int, min_pixels: int, max_pixels: int) -> int:
    """A bound on the cells that `smart_resize` makes of any image, reached or nearly."""
    within = max_pixels // factor**2
    strip = isqrt(MAX_RATIO * max_pixels) // factor  # shrunk, at the largest ratio, to a single row
    enlarged = 0
    longest = isqrt(MAX_RATIO * min_pixels) // factor
    for rows in range(1, isqrt(min_pixels) // factor + 2):
        # sides are rounded up: the shorter one is more than rows - 1, so the longer one less than this
        columns = min(longest, min_pixels // (factor**2 * (rows - 1))) if rows > 1 else longest
        enlarged = max(enlarged, rows * (columns + 1))
    return max(within, strip, enlarged, 1)
