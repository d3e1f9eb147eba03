"""Grids of tiles for an image of a given size. Arithmetic only."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt


def nearest_square(count: int) -> tuple[int, int]:
    """(longer, shorter) side of the rectangle of `count` cells that is nearest to a square."""
    shorter = next(side for side in range(isqrt(count), 0, -1) if count % side == 0)
    return count // shorter, shorter


@lru_cache(maxsize=64)
def grids(fewest: int, most: int) -> tuple[tuple[int, int], ...]:
    """All (columns, rows) of `fewest` to `most` tiles, by their number, then by columns."""
    found = [
        (columns, rows)
        for columns in range(1, most + 1)
        for rows in range(1, most // columns + 1)
        if columns * rows >= fewest
    ]
    return tuple(sorted(found, key=lambda grid: grid[0] * grid[1]))


def best_grid(
    width: int, height: int, tile_width: int, tile_height: int, fewest: int, most: int
) -> tuple[int, int]:
    """(columns, rows) of the grid nearest to the image's aspect ratio.

    InternVL's dynamic resolution (Chen et al. 2024, arXiv:2404.16821) in the form of transformers'
    GotOcr2ImageProcessor; ties and their order are part of the rule, and a test holds the two equal. Among equally near
    grids a larger one is taken only while the image has more than half of its pixels.
    """
    best, nearest = (1, 1), float("inf")
    for columns, rows in grids(fewest, most):
        distance = abs(width / height - columns / rows)
        if distance < nearest:
            best, nearest = (columns, rows), distance
        elif distance == nearest and width * height > 0.5 * tile_height * tile_width * columns * rows:
            best = (columns, rows)
    return best
