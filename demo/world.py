"""Scenes: what is in a picture, and the picture.

A scene is drawn from a seed and nothing else. Training, evaluation and tests take their seeds from ranges that cannot
meet (`scene_seed`). The world is made learnable on purpose and says so: colours are well apart, objects do not touch,
each lies alone in one of nine regions and away from their borders, small writing lies within one tile.
Knows nothing of questions, tokens or models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from demo.draw import (
    COLOURS,
    FONTS,
    SHAPES,
    Colour,
    background,
    camera,
    jitter,
    paint_shape,
    paint_writing,
    writing_size,
)
from demo.grounds import standing_out

TILE = 112
KINDS = ("shapes", "number", "small", "fine", "page")
REGIONS = (
    "top left", "top", "top right",
    "left", "centre", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
MAX_OBJECTS = 5
TAG = 4  # pixels of light ground around writing
_LATTICES = ((3, 5), (3, 5), (3, 5), (3, 4), (2, 3), (2, 2))  # columns and rows of a page of numbers
_MARGIN = 0.04  # of the picture's side, between an object's centre and a border of regions
_SPLITS = {"train": 0, "validate": 1, "evaluate": 2, "test": 3}


@dataclass(frozen=True, slots=True)
class Thing:
    """One coloured shape; `centre` and `radius` in pixels of the scene."""

    colour: str
    shape: str
    centre: tuple[float, float]
    radius: float
    region: int


@dataclass(frozen=True, slots=True)
class Writing:
    """A number of one to three digits; `digits` holds the centre of each in pixels, `height` their height."""

    text: str
    box: tuple[int, int, int, int]
    digits: tuple[tuple[float, float], ...]
    height: int
    font: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture of `width` × `height` pixels shows; things are in reading order of their regions."""

    kind: str
    width: int
    height: int
    things: tuple[Thing, ...]
    writing: Writing | None
    page: tuple[Writing, ...] = ()


def scene_seed(split: str, seed: int, index: int) -> tuple[int, int, int]:
    """The seed of scene `index` of a split: equal only if split, seed and index are, so splits never meet."""
    if split not in _SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(_SPLITS)}")
    return _SPLITS[split], seed, index


def _size(rng: np.random.Generator, kind: str, compact: bool) -> tuple[int, int]:
    """A width and height; small writing gets sizes whose tiles keep the picture's own resolution."""
    if kind == "fine":
        return TILE, TILE
    if kind == "page":
        sides = TILE, int(TILE * rng.uniform(1, 1.35))
        return sides if rng.random() < 0.5 else sides[::-1]
    if kind == "small":
        columns, rows = ((3, 3), (3, 3), (3, 2), (2, 3), (4, 2), (2, 4))[rng.integers(6)]
        return (
            int(columns * TILE * rng.uniform(0.985, 1.03)),
            int(rows * TILE * rng.uniform(0.985, 1.03)),
        )
    if compact or rng.random() < 0.4:
        side = int(rng.integers(TILE, 159))
        return side, int(np.clip(side * rng.uniform(0.86, 1.16), TILE, 158))
    long = int(rng.integers(160, 449))
    ratios = (
        (1.0, 1.0, 4 / 3, 5 / 4) if kind == "number" else (1.0, 1.0, 4 / 3, 3 / 2, 16 / 9, rng.uniform(1, 2))
    )
    short = max(TILE, int(long / ratios[rng.integers(len(ratios))]))
    return (long, short) if rng.random() < 0.5 else (short, long)


def _place(
    rng: np.random.Generator, region: int, radius: float, width: int, height: int
) -> tuple[float, float] | None:
    """A centre within a region such that the whole shape is in the picture, or None where there is no room."""
    low_high = []
    for third, side in ((region % 3, width), (region // 3, height)):
        low = max((third / 3 + _MARGIN) * side if third else 0.0, radius + 1)
        high = min(((third + 1) / 3 - _MARGIN) * side if third < 2 else side, side - radius - 1)
        if low > high:
            return None
        low_high.append(rng.uniform(low, high))
    return low_high[0], low_high[1]


def _clear(
    centre: tuple[float, float], radius: float, things: list[Thing], box: tuple[int, ...] | None
) -> bool:
    if any(math.dist(centre, other.centre) < 1.06 * (radius + other.radius) for other in things):
        return False
    if box is None:
        return True
    dx = max(box[0] - centre[0], 0, centre[0] - box[2])
    dy = max(box[1] - centre[1], 0, centre[1] - box[3])
    return math.hypot(dx, dy) > radius + TAG + 2


def _things(
    rng: np.random.Generator,
    count: int,
    width: int,
    height: int,
    writing: Writing | None,
    colours: tuple[str, ...],
) -> tuple[Thing, ...]:
    """Up to `count` shapes of some of `colours` in as many regions; fewer where they do not fit."""
    things: list[Thing] = []
    long, short = max(width, height), min(width, height)
    box = writing.box if writing else None
    palette = rng.permutation(colours)[: rng.integers(2, len(colours) + 1)]
    for region in rng.permutation(9)[:count]:
        colour, shape = str(palette[rng.integers(len(palette))]), SHAPES[rng.integers(len(SHAPES))]
        radius = min(rng.uniform(0.095, 0.17) * long, 0.24 * short)
        for _ in range(12):
            centre = _place(rng, int(region), radius, width, height)
            if centre is not None and _clear(centre, radius, things, box):
                things.append(Thing(colour, shape, centre, radius, int(region)))
                break
            radius = max(radius * 0.93, 0.09 * long)
    return tuple(sorted(things, key=lambda thing: thing.region))


def _digit_height(rng: np.random.Generator, kind: str, width: int, height: int) -> int:
    """In pixels. Small writing is 11–13 high; other writing stays readable when the picture shrinks to one tile."""
    if kind in ("small", "fine"):
        return int(rng.integers(11, 14))
    least = max(0.115 * height, 0.13 * width)
    if max(width, height) < 160 and rng.random() < 0.4:
        least = 0.085 * max(width, height)
    return int(math.exp(rng.uniform(math.log(least), math.log(max(0.32 * height, 1.15 * least)))))


def _write(rng: np.random.Generator, kind: str, width: int, height: int) -> Writing:
    text = (
        str(rng.integers(100, 1000))
        if kind in ("small", "fine")
        else str(rng.integers(0, 10 ** rng.integers(1, 4)))
    )
    font = list(FONTS)[rng.integers(len(FONTS))]
    digit_height = _digit_height(rng, kind, width, height)
    while True:
        ink = writing_size(text, font, digit_height)
        if ink[0] < 0.9 * width or digit_height <= 8:
            break
        digit_height -= 1
    columns, rows = (round(width / TILE), round(height / TILE)) if kind == "small" else (1, 1)
    corner = []
    for ink_side, side, parts in ((ink[0], width, columns), (ink[1], height, rows)):
        part = int(rng.integers(parts))
        low, high = part * side / parts + TAG, (part + 1) * side / parts - ink_side - TAG
        corner.append(int(rng.uniform(low, max(low, high))))
    box = (corner[0], corner[1], corner[0] + ink[0], corner[1] + ink[1])
    return Writing(text, box, (), digit_height, font)


def _written(rng: np.random.Generator, canvas: Image.Image, writing: Writing, tag: bool = True) -> Writing:
    """Puts dark writing on a light tag on the canvas and returns it with the places of its digits."""
    if tag:
        left, top, right, bottom = writing.box
        canvas.paste(jitter(rng, (246, 246, 246), 8), (left - TAG, top - TAG, right + TAG, bottom + TAG))
    ink = jitter(rng, (20, 20, 20))
    digits = paint_writing(canvas, writing.text, writing.box[:2], writing.font, writing.height, ink)
    return Writing(writing.text, writing.box, tuple(digits), writing.height, writing.font)


def _page(rng: np.random.Generator, width: int, height: int) -> list[Writing]:
    """Numbers in a lattice, as many as there is room for: much to read in one tile, for training."""
    columns, rows = _LATTICES[rng.integers(len(_LATTICES))]
    block = (width / columns, height / rows)
    numbers = []
    for place in range(columns * rows):
        text = str(rng.integers(100, 1000) if rng.random() < 0.6 else rng.integers(10 ** rng.integers(1, 4)))
        font = list(FONTS)[rng.integers(len(FONTS))]
        digit_height = int(rng.uniform(9, 0.8 * block[1]))
        while writing_size(text, font, digit_height)[0] > block[0] - 2 and digit_height > 7:
            digit_height -= 1
        ink = writing_size(text, font, digit_height)
        x = int(place % columns * block[0] + rng.uniform(0, max(1, block[0] - ink[0])))
        y = int(place // columns * block[1] + rng.uniform(0, max(1, block[1] - ink[1])))
        numbers.append(Writing(text, (x, y, x + ink[0], y + ink[1]), (), digit_height, font))
    return numbers


def draw_scene(
    seed: tuple[int, int, int],
    kind: str | None = None,
    compact: bool = False,
    ground: Colour | None = None,
    painted: Colour | None = None,
) -> tuple[Scene, Image.Image]:
    """Draws the scene of a seed (see `scene_seed`), of the kind asked for or of a random one.

    The ground is greyish or, if given, has the colour `ground`; then only shapes that stand out from it are drawn.
    `painted` paints it in another colour, and leaves everything else of the picture as it is.

    For training there are also "fine", what one tile shows of small writing, "page", a tile full of numbers, and
    `compact` scenes, of any kind but "small", which have one tile and are quick to draw.

    Raises:
        ValueError: `kind` is none of `KINDS`.
    """
    rng = np.random.default_rng(seed)
    drawn = KINDS[rng.choice(4, p=(0.58, 0.2, 0.0, 0.22) if compact else (0.56, 0.28, 0.16, 0.0))]
    kind = kind or drawn
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    width, height = _size(rng, kind, compact)
    canvas = background(rng, width, height, 1.0 if kind == "shapes" else 0.5, painted or ground)
    if kind == "page":
        canvas = Image.blend(canvas, Image.new("RGB", canvas.size, "white"), 0.9)
        page = tuple(_written(rng, canvas, number, tag=False) for number in _page(rng, width, height))
        return Scene(kind, width, height, (), None, page), camera(rng, canvas, gentle=True)
    writing = None if kind == "shapes" else _write(rng, kind, width, height)
    count = int(rng.integers(1, MAX_OBJECTS + 1)) if writing is None else int(rng.integers(0, 3))
    colours = tuple(COLOURS) if ground is None else standing_out(ground)
    things = _things(rng, count, width, height, writing, colours)
    for thing in things:
        angle = rng.uniform(-0.22, 0.22)
        paint_shape(
            canvas, thing.shape, thing.centre, thing.radius, angle, jitter(rng, COLOURS[thing.colour])
        )
    if writing is not None:
        writing = _written(rng, canvas, writing)
    return Scene(kind, width, height, things, writing), camera(rng, canvas, gentle=kind in ("small", "fine"))
