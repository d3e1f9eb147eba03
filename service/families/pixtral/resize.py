"""The size that Pixtral brings an image to: never larger than it is, but for the rest of a cell. Arithmetic only.

As transformers' PixtralImageProcessor has it: the longer side is brought to an *edge* where it is longer, both sides
are rounded down to a pixel, then up to whole cells. A *cell* is a square of pixels that becomes one soft token.
"""

from __future__ import annotations

from bisect import bisect_right
from math import floor


def fit_edge(width: int, height: int, edge: int, cell: int) -> tuple[int, int]:
    """(width, height) in pixels, multiples of `cell`, neither of more cells than `edge` has.

    A strip that an edge shorter than its sides' ratio would leave no pixel of keeps one.
    """
    ratio = max(height / edge, width / edge)
    if ratio > 1:
        width, height = max(1, floor(width / ratio)), max(1, floor(height / ratio))
    return -(-width // cell) * cell, -(-height // cell) * cell


def fit_cells(width: int, height: int, edge: int, cell: int, cells: int) -> tuple[int, int]:
    """The largest of the sizes that `fit_edge` gives for edges up to `edge` that has at most `cells` cells.

    More cells never make a side shorter.
    """

    def count(shorter: int) -> int:
        columns, rows = (side // cell for side in fit_edge(width, height, shorter, cell))
        return columns * rows

    return fit_edge(width, height, bisect_right(range(1, edge + 1), cells, key=count), cell)
