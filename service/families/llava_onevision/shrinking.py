"""LLaVA-OneVision's bound on an image's map of patches: a larger one is shrunk by bilinear interpolation.

Size and weights are those of transformers' `pack_image_features`, that is of `torch.nn.functional.interpolate` without
aligned corners and without antialiasing, and tests hold them equal. Arithmetic only.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import sqrt
from operator import itemgetter

TILES = 9
"""A map of more patches than so many tiles have, and a fifth, is shrunk to about as many (`anyres_max_9`)."""
CORNERS = 4
"""Patches that a shrunk one is made of."""
Neighbours = Sequence[tuple[int, int, float]]
"""Per line: the two that it is made of, and the second one's weight."""


def shrunk(columns: int, rows: int, side: int) -> tuple[int, int]:
    """(columns, rows) of a map after shrinking, where a tile has `side` × `side` patches."""
    ratio = sqrt(rows * columns / (TILES * side**2))
    return (int(columns // ratio), int(rows // ratio)) if ratio > 1.1 else (columns, rows)


@lru_cache(maxsize=256)
def neighbours(count: int, made: int) -> Neighbours:
    """From which of `count` lines each of the `made` ones comes."""
    found = []
    for number in range(made):
        place = max((number + 0.5) * count / made - 0.5, 0.0)
        first = int(place)
        found.append((first, min(first + 1, count - 1), place - first))
    return found


def blended(
    lines: Sequence[Sequence[int]], size: tuple[int, int], newline: int
) -> tuple[array[int], array[float]]:
    """Row numbers and weights, `CORNERS` for each soft token, of a map that is shrunk to `size`, (columns, rows).

    `lines`: the row numbers of its patches, line by line. `newline` stands behind each line that is made.
    """
    columns, rows = size
    across = neighbours(len(lines[0]), columns)
    pick_left, pick_right = _picker([left for left, *_ in across]), _picker([right for _, right, _ in across])
    left_weights, right_weights = [1 - weight for *_, weight in across], [weight for *_, weight in across]
    index, weights = array("q"), array("f")
    for upper, lower, down in neighbours(len(lines), rows):
        corners = (
            (pick_left(lines[upper]), left_weights, 1 - down),
            (pick_right(lines[upper]), right_weights, 1 - down),
            (pick_left(lines[lower]), left_weights, down),
            (pick_right(lines[lower]), right_weights, down),
        )
        index_of_line, weights_of_line = plain([newline] * (columns + 1))
        for corner, (picked, of_column, of_row) in enumerate(corners):
            index_of_line[corner : CORNERS * columns : CORNERS] = array("q", picked)
            made = array("f", [weight * of_row for weight in of_column])
            weights_of_line[corner : CORNERS * columns : CORNERS] = made
        index.extend(index_of_line)
        weights.extend(weights_of_line)
    return index, weights


def _picker(numbers: Sequence[int]) -> Callable[[Sequence[int]], Sequence[int]]:
    """`itemgetter` of one number gives no sequence."""
    return itemgetter(*numbers) if len(numbers) > 1 else lambda line: [line[numbers[0]]]


def plain(numbers: Sequence[int]) -> tuple[array[int], array[float]]:
    """The same of soft tokens that are rows as they are."""
    index, weights = (
        array("q", bytes(8 * CORNERS * len(numbers))),
        array("f", bytes(4 * CORNERS * len(numbers))),
    )
    index[::CORNERS] = array("q", numbers)
    weights[::CORNERS] = array("f", [1.0] * len(numbers))
    return index, weights
