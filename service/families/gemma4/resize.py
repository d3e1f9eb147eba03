"""The size that Gemma 4 brings an image to: as many cells as a budget allows, in about its own shape. Arithmetic only.

As transformers' Gemma4ImageProcessor has it: small images are enlarged, both sides are rounded down to whole cells, and
a strip too narrow for that is one line of all cells. A *cell* is a square of pixels that becomes one soft token.
"""

from __future__ import annotations

from math import floor, sqrt


def fill_budget(width: int, height: int, cell: int, budget: int) -> tuple[int, int]:
    """(width, height) in pixels, multiples of `cell`, of at most `budget` cells together.

    A larger budget never makes a side shorter, but for a strip that it gives a second line.
    """
    scale = sqrt(budget * cell**2 / (width * height))
    columns, rows = floor(scale * width / cell), floor(scale * height / cell)
    if rows == 0:
        columns, rows = budget, 1
    elif columns == 0:
        columns, rows = 1, budget
    return columns * cell, rows * cell
