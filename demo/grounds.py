"""The colours that a picture's ground can have, and which shapes stand out from them.

The first stages of training see greyish grounds alone, which `draw.background` chooses. A ground that is named here or
drawn by `any_ground` can be white, black, pale or as vivid as a shape. A shape whose colour is near that of its ground
is not drawn, so that a question about it never arises.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np

from demo.draw import COLOURS, Colour

GROUNDS: dict[str, Colour] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "orange": (255, 140, 0),
    "yellow": (255, 235, 0),
    "green": (0, 150, 0),
    "blue": (0, 0, 255),
    "purple": (130, 0, 150),
    "dark grey": (60, 60, 60),
    "grey": (150, 150, 150),
    "light grey": (225, 225, 225),
    "pale blue": (212, 228, 248),
    "pale pink": (250, 222, 226),
}
"""What accuracy is measured on, one by one."""
GREY = GROUNDS["grey"]
APART = 95.0
"""The least distance in RGB of a shape from its ground. Orange and yellow, the nearest two, are 97 apart."""


def standing_out(ground: Colour) -> tuple[str, ...]:
    """The names of the colours that can be told from this ground."""
    return tuple(name for name, colour in COLOURS.items() if math.dist(colour, ground) >= APART)


def _hued(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return round(255 * red), round(255 * green), round(255 * blue)


def _near(rng: np.random.Generator, corner: int) -> Colour:
    """White or black (`corner` 255 or 0), or in half of the cases a little off it."""
    off = rng.integers(0, 24, 3) if rng.random() < 0.5 else np.zeros(3, int)
    red, green, blue = np.abs(corner - off)
    return int(red), int(green), int(blue)


def any_ground(rng: np.random.Generator) -> Colour:
    """A ground for training: vivid in half of the cases, else white, black, pale, or any colour at all."""
    kind = rng.choice(5, p=(0.5, 0.16, 0.14, 0.1, 0.1))
    if kind == 0:
        return _hued(rng, (0.6, 1.0), (0.4, 1.0))
    if kind == 1:
        return _near(rng, 255)
    if kind == 2:
        return _near(rng, 0)
    if kind == 3:
        return _hued(rng, (0.03, 0.3), (0.85, 1.0))
    red, green, blue = rng.integers(0, 256, 3)
    return int(red), int(green), int(blue)
