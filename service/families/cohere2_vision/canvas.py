"""Command A Vision's canvas: the grid of tiles to which an image is stretched. Arithmetic only."""

from __future__ import annotations

from service.families.grids import grids


def covering_grid(width: int, height: int, tile: int, most: int) -> tuple[int, int]:
    """(columns, rows) of at most `most` square tiles of `tile` pixels for an image of `width` × `height` pixels.

    Of the grids that are no smaller than the image in either direction the one that enlarges it least in the direction
    that is enlarged less; where none is, the one that shrinks it least in the direction that is shrunk more. Ties go to
    fewer tiles, then to fewer columns: the rule of transformers' Cohere2VisionImageProcessor, and a test holds the two
    equal.
    """

    def scale(grid: tuple[int, int]) -> float:
        columns, rows = grid
        return min(columns * tile / width, rows * tile / height)

    candidates = grids(1, most)
    covering = [grid for grid in candidates if scale(grid) >= 1]
    return min(covering, key=scale) if covering else max(candidates, key=scale)
