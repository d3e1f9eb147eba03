"""Puts shapes, writing, backgrounds and camera faults on a canvas.

Knows pixels and fonts; does not know scenes, questions or labels. Everything random comes from the generator that is
passed in, and no font of the platform is used, so one seed gives one picture everywhere.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np
from font_roboto import RobotoBold
from font_source_serif_pro import SourceSerifProBold
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
"""Red, green and blue, 0–255."""
COLOURS: dict[str, Colour] = {
    "red": (212, 28, 36),
    "orange": (244, 128, 16),
    "yellow": (250, 222, 40),
    "green": (36, 150, 56),
    "blue": (28, 76, 214),
    "purple": (132, 40, 164),
    "white": (250, 250, 250),
    "black": (14, 14, 14),
}
FONTS: dict[str, str | None] = {
    "default": None,
    "roboto": RobotoBold,
    "source-serif": SourceSerifProBold,
}
BACKGROUNDS = ("flat", "gradient", "stripes", "checks", "noise", "blotches")
_SUPERSAMPLE = 4


def _wheel(points: int, inner: float) -> list[tuple[float, float]]:
    """A star-like polygon in the unit circle: `points` tips at radius 1, the notches between them at `inner`."""
    radii = (1.0, inner)
    step = math.pi / points
    return [
        (radii[i % 2] * math.sin(i * step), -radii[i % 2] * math.cos(i * step)) for i in range(2 * points)
    ]


def _heart() -> list[tuple[float, float]]:
    outline = []
    for i in range(40):
        t = 2 * math.pi * i / 40
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        outline.append((x / 17, -(y + 2.5) / 17))
    return outline


_ARM = 0.3
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": [(0.88 * math.cos(math.pi * i / 24), 0.88 * math.sin(math.pi * i / 24)) for i in range(48)],
    "square": [(-0.74, -0.74), (0.74, -0.74), (0.74, 0.74), (-0.74, 0.74)],
    "triangle": [(0.0, -0.95), (0.92, 0.72), (-0.92, 0.72)],
    "star": _wheel(5, 0.42),
    "cross": [
        (-_ARM, -0.95), (_ARM, -0.95), (_ARM, -_ARM), (0.95, -_ARM), (0.95, _ARM), (_ARM, _ARM),
        (_ARM, 0.95), (-_ARM, 0.95), (-_ARM, _ARM), (-0.95, _ARM), (-0.95, -_ARM), (-_ARM, -_ARM),
    ],
    "heart": _heart(),
}  # fmt: skip
SHAPES = tuple(OUTLINES)


def jitter(rng: np.random.Generator, colour: Colour, spread: int = 12) -> Colour:
    """The colour, each channel moved by at most `spread` and kept within 0–255."""
    moved = np.clip(np.array(colour) + rng.integers(-spread, spread + 1, 3), 0, 255)
    return int(moved[0]), int(moved[1]), int(moved[2])


def paint_shape(
    canvas: Image.Image,
    shape: str,
    centre: tuple[float, float],
    radius: float,
    angle: float,
    colour: Colour,
) -> None:
    """Paints one anti-aliased shape; `centre` and `radius` (of the circle around it) in pixels, `angle` in radians."""
    left, top = int(centre[0] - radius) - 1, int(centre[1] - radius) - 1
    side = int(2 * radius) + 4
    cos, sin = math.cos(angle) * radius, math.sin(angle) * radius
    outline = [
        (
            (centre[0] - left + x * cos - y * sin) * _SUPERSAMPLE,
            (centre[1] - top + x * sin + y * cos) * _SUPERSAMPLE,
        )
        for x, y in OUTLINES[shape]
    ]
    mask = Image.new("L", (side * _SUPERSAMPLE, side * _SUPERSAMPLE), 0)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    canvas.paste(colour, (left, top), mask.reduce(_SUPERSAMPLE))


def _load(name: str, size: int) -> ImageFont.FreeTypeFont:
    path = FONTS[name]
    font = ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType; its scalable default font is needed")
    return font


@lru_cache(maxsize=512)
def _font(name: str, digit_height: int) -> ImageFont.FreeTypeFont:
    """The smallest font in which a zero is at least `digit_height` pixels high."""
    _, top, _, bottom = _load(name, 200).getbbox("0")
    size = int(digit_height * 200 / (bottom - top)) - 1
    while True:
        font = _load(name, size)
        _, top, _, bottom = font.getbbox("0")
        if bottom - top >= digit_height:
            return font
        size += 1


def writing_size(text: str, font: str, digit_height: int) -> tuple[int, int]:
    """Width and height in pixels of the ink of `text`."""
    box = _font(font, digit_height).getbbox(text)
    return int(box[2] - box[0]), int(box[3] - box[1])


def paint_writing(
    canvas: Image.Image,
    text: str,
    corner: tuple[int, int],
    font: str,
    digit_height: int,
    colour: Colour,
) -> list[tuple[float, float]]:
    """Writes `text` with the ink's top left corner at `corner`; returns the centre (x, y) of every character."""
    face = _font(font, digit_height)
    left, top, _, bottom = face.getbbox(text)
    ImageDraw.Draw(canvas).text((corner[0] - left, corner[1] - top), text, font=face, fill=colour)
    edges = [corner[0] - left + face.getlength(text[:i]) for i in range(len(text) + 1)]
    middle = corner[1] + (bottom - top) / 2
    return [((a + b) / 2, middle) for a, b in zip(edges, edges[1:], strict=False)]


def _grid(width: int, height: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a random direction, in units of the longer side."""
    angle = rng.uniform(0, math.pi)
    x = np.arange(width, dtype=np.float32)[None, :] / max(width, height)
    y = np.arange(height, dtype=np.float32)[:, None] / max(width, height)
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def background(
    rng: np.random.Generator, width: int, height: int, contrast: float = 1.0, colour: Colour | None = None
) -> Image.Image:
    """A ground of one of `BACKGROUNDS`: greyish, mid-bright so that black and white stand out from it, or of `colour`.

    `contrast` scales how strongly the pattern varies (1: up to 26 grey levels either way). A ground of a given colour
    is flat in half of the cases, as paint programs and transparent pictures have it.
    """
    kind = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    base = rng.uniform(95, 195) + rng.uniform(-14, 14, 3)
    swing = rng.uniform(8, 26) * contrast
    least, most = 60, 225
    if colour is not None:
        kind = "flat" if rng.random() < 0.5 else kind
        base, least, most = np.array(colour, float), 0, 255
    if kind == "flat":
        pattern = np.zeros((height, width), np.float32)
    elif kind == "noise":
        pattern = np.clip(rng.standard_normal((height, width), dtype=np.float32) * 0.5, -1, 1)
    elif kind == "blotches":
        coarse = rng.integers(0, 255, (6, 6), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pattern = np.asarray(smooth, np.float32) / 127.5 - 1
    else:
        along, across = _grid(width, height, rng)
        period = rng.uniform(0.06, 0.3)
        stripes = np.where((along / period) % 1 < 0.5, 1.0, -1.0)
        if kind == "gradient":
            pattern = 2 * (along - along.min()) / max(float(np.ptp(along)), 1e-6) - 1
        elif kind == "stripes":
            pattern = stripes
        else:
            pattern = stripes * np.where((across / period) % 1 < 0.5, 1.0, -1.0)
    pixels = base[None, None, :] + swing * pattern[:, :, None]
    return Image.fromarray(np.clip(pixels, least, most).astype(np.uint8))


def camera(rng: np.random.Generator, image: Image.Image, gentle: bool = False) -> Image.Image:
    """Blur, sensor noise and JPEG artefacts, each in some pictures; `gentle` spares small writing."""
    if not gentle and rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    if rng.random() < 0.5:
        sigma = rng.uniform(1, 4 if gentle else 9)
        noise = rng.standard_normal((image.height, image.width, 1), dtype=np.float32) * sigma
        image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(85 if gentle else 55, 96)))
        image = Image.open(file).convert("RGB")
    return image
