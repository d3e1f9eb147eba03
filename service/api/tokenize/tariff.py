"""What OpenAI would charge for an image, for comparison: gpt-4o's tariff of 85 tokens and 170 for each tile.

Source: https://platform.openai.com/docs/guides/images-vision#calculating-costs
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from service.domain import Detail

BASE, PER_TILE = 85, 170
TILE, LONGEST, SHORTEST = 512, 2048, 768
"""Pixels: the side of a tile, and the lengths to which an image's longer and shorter sides are reduced."""


def openai_tokens(width: int, height: int, detail: Detail) -> int:
    """Of an image of so many displayed pixels. `auto`, which OpenAI decides by itself, counts as `high`.

    An image is only ever reduced: first to 2048 × 2048, then to 768 on its shorter side.
    """
    if detail is Detail.LOW:
        return BASE
    scale = min(Fraction(1), Fraction(LONGEST, max(width, height)))
    scale = min(scale, Fraction(SHORTEST, min(width, height)))
    return BASE + PER_TILE * ceil(width * scale / TILE) * ceil(height * scale / TILE)
