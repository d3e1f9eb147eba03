"""What each soft token's cell of a tile holds: the supervision of the first stage of training.

A tile's 16 soft tokens stand for a 4 × 4 grid of cells, row by row. Per cell, yes or no: a shape of this colour
covers a good part of it; a shape of this colour has its centre in it; that centre lies in this ninth of the tile;
this digit, first, second or third of its number, has its centre in it (where it is large enough to be read); a shape
whose centre lies in this ninth of the tile covers a good part of it.
"""

from __future__ import annotations

import numpy as np

from demo.draw import COLOURS, SHAPES
from demo.tiles import Rect
from demo.world import TILE, Scene, Thing, Writing

SIDE = 4
PAIRS = len(COLOURS) * len(SHAPES)
COVER, CENTRE, REGION, DIGIT = 0, PAIRS, 2 * PAIRS, 2 * PAIRS + 9
COVER_REGION = DIGIT + 30
TARGETS = COVER_REGION + 9
LEAST_DIGIT = 6.5  # pixels of a tile; lower writing counts as unreadable
_COLOUR_INDEX = {name: i for i, name in enumerate(COLOURS)}
_SHAPE_INDEX = {name: i for i, name in enumerate(SHAPES)}


def _thing(cells: np.ndarray, thing: Thing, rect: Rect) -> None:
    pair = _COLOUR_INDEX[thing.colour] * len(SHAPES) + _SHAPE_INDEX[thing.shape]
    across, down = (rect[2] - rect[0]) / SIDE, (rect[3] - rect[1]) / SIDE
    x, y = (thing.centre[0] - rect[0]) / across, (thing.centre[1] - rect[1]) / down  # in cells
    inside = 0 <= x < SIDE and 0 <= y < SIDE
    region = int(3 * y / SIDE) * 3 + int(3 * x / SIDE)
    half = 0.8 * thing.radius
    left, right = x - half / across, x + half / across
    top, bottom = y - half / down, y + half / down
    for row in range(SIDE):
        for column in range(SIDE):
            wide = min(right, column + 1) - max(left, column)
            high = min(bottom, row + 1) - max(top, row)
            if wide > 0 and high > 0 and wide * high > 0.12:
                cells[row, column, COVER + pair] = 1
                if inside:
                    cells[row, column, COVER_REGION + region] = 1
    if inside:
        cells[int(y), int(x), CENTRE + pair] = 1
        cells[int(y), int(x), REGION + region] = 1


def _digits(cells: np.ndarray, writing: Writing, rect: Rect) -> None:
    for place, (digit, centre) in enumerate(zip(writing.text, writing.digits, strict=True)):
        x = SIDE * (centre[0] - rect[0]) / (rect[2] - rect[0])
        y = SIDE * (centre[1] - rect[1]) / (rect[3] - rect[1])
        if 0 <= x < SIDE and 0 <= y < SIDE:
            cells[int(y), int(x), DIGIT + 10 * place + int(digit)] = 1


def cells(scene: Scene, rect: Rect) -> np.ndarray:
    """uint8 [16, TARGETS] of 0 and 1 for the tile that shows `rect` of the scene."""
    out = np.zeros((SIDE, SIDE, TARGETS), np.uint8)
    for thing in scene.things:
        _thing(out, thing, rect)
    for writing in scene.page if scene.writing is None else (scene.writing,):
        if writing.height * TILE / (rect[3] - rect[1]) >= LEAST_DIGIT:
            _digits(out, writing, rect)
    return out.reshape(SIDE * SIDE, TARGETS)
