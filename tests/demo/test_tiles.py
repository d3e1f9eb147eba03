"""Tiles are those of the checkpoint's own image processor, pixel for pixel; targets lie where the things are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from demo.draw import SHAPES
from demo.losses import normalise
from demo.targets import CENTRE, COVER_REGION, DIGIT, REGION, SIDE, cells
from demo.tiles import cut, grid, rects
from demo.world import TILE, Scene, Thing, Writing, draw_scene, scene_seed

MODEL = Path("demo/model")
SIZES = [
    (112, 112),
    (150, 131),
    (336, 336),
    (345, 331),
    (448, 224),
    (200, 417),
    (301, 180),
    (113, 447),
    (160, 160),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("max_tiles", [1, 4, 9])
def test_tiles_equal_the_processors(size: tuple[int, int], max_tiles: int) -> None:
    picture = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    processor = AutoImageProcessor.from_pretrained(MODEL)
    theirs = processor(Image.fromarray(picture), max_patches=max_tiles, return_tensors="pt")["pixel_values"]
    ours = cut(picture, max_tiles)
    assert ours.shape == theirs.shape
    assert torch.allclose(normalise(ours), theirs, atol=1e-5)


def test_the_last_tile_is_the_picture_seen_at_low_detail() -> None:
    _, picture = draw_scene(scene_seed("test", 0, 1), "small")
    pixels = np.asarray(picture)
    assert torch.equal(cut(pixels, 9)[-1:], cut(pixels, 1))


def test_rectangles_follow_the_grid_and_end_with_the_whole() -> None:
    assert grid(448, 224, 9) == (4, 2)
    found = rects(448, 224, 9)
    assert found[0] == (0, 0, 112, 112)
    assert found[5] == (112, 112, 224, 224)
    assert found[-1] == (0, 0, 448, 224)
    assert rects(120, 120, 9) == [(0, 0, 120, 120)]


def _scene() -> Scene:
    star = Thing("red", "star", (84.0, 28.0), 16.0, 2)
    writing = Writing("42", (10, 80, 30, 92), ((14.0, 86.0), (42.0, 86.0)), 12, "default")
    return Scene("number", TILE, TILE, (star,), writing)


def test_a_things_cell_names_its_kind_and_ninth() -> None:
    found = cells(_scene(), (0, 0, TILE, TILE)).reshape(SIDE, SIDE, -1)
    pair = SHAPES.index("star")  # red is the first colour
    assert found[1, 3, CENTRE + pair] == 1
    assert found[1, 3, REGION + 2] == 1
    assert found[..., CENTRE:REGION].sum() == 1
    for row, column in ((0, 2), (0, 3), (1, 2), (1, 3)):
        assert found[row, column, pair] == found[row, column, COVER_REGION + 2] == 1
    assert found[..., :CENTRE].sum() == found[..., COVER_REGION:].sum() == 4


def test_digits_carry_their_place_and_only_where_they_can_be_read() -> None:
    found = cells(_scene(), (0, 0, TILE, TILE)).reshape(SIDE, SIDE, -1)
    assert found[3, 0, DIGIT + 4] == 1
    assert found[3, 1, DIGIT + 10 + 2] == 1
    assert found[..., DIGIT:COVER_REGION].sum() == 2
    shrunk = cells(_scene(), (0, 0, 4 * TILE, 4 * TILE))
    assert shrunk[:, DIGIT:COVER_REGION].sum() == 0


def test_a_tile_of_a_part_holds_only_that_part() -> None:
    found = cells(_scene(), (0, 56, 56, 112)).reshape(SIDE, SIDE, -1)
    assert found[..., :DIGIT].sum() == 0
    assert found[2, 1, DIGIT + 4] == 1
