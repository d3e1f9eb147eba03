"""Whole numbers as rectangles. Arithmetic only."""

from __future__ import annotations

from math import isqrt


def nearest_square(count: int) -> tuple[int, int]:
    """(longer, shorter) side of the rectangle of `count` cells that is nearest to a square."""
    shorter = next(side for side in range(isqrt(count), 0, -1) if count % side == 0)
    return count // shorter, shorter
