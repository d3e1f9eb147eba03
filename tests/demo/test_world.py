"""Scenes: the same from the same seed, drawn where their labels say, and as the module promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.draw import COLOURS, Colour
from demo.grounds import GROUNDS, standing_out
from demo.world import KINDS, TILE, draw_scene, scene_seed

seeds = st.integers(0, 2**31)


def test_one_seed_gives_one_picture() -> None:
    first, again = (draw_scene(scene_seed("test", 3, 14)) for _ in range(2))
    assert first[0] == again[0]
    assert np.array_equal(np.asarray(first[1]), np.asarray(again[1]))


def test_splits_and_numbers_give_different_pictures() -> None:
    pictures = {
        draw_scene(scene_seed(split, 0, index), "shapes")[1].tobytes()
        for split in ("train", "validate", "evaluate", "test")
        for index in range(5)
    }
    assert len(pictures) == 20


def test_unknown_split_and_kind_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="split is 'dev'; it must be one of train, validate"):
        scene_seed("dev", 0, 0)
    with pytest.raises(ValueError, match="kind is 'text'; it must be one of shapes, number, small"):
        draw_scene(scene_seed("test", 0, 0), "text")


@settings(max_examples=60)
@given(seeds, st.sampled_from(KINDS))
def test_things_keep_apart_inside_and_each_in_its_region(index: int, kind: str) -> None:
    scene, picture = draw_scene(scene_seed("test", 0, index), kind)
    assert picture.size == (scene.width, scene.height)
    assert min(picture.size) >= TILE
    assert len({thing.region for thing in scene.things}) == len(scene.things)
    for i, thing in enumerate(scene.things):
        x, y = thing.centre
        assert thing.radius <= x <= scene.width - thing.radius
        assert thing.radius <= y <= scene.height - thing.radius
        assert thing.region == int(3 * y / scene.height) * 3 + int(3 * x / scene.width)
        for other in scene.things[:i]:
            assert math.dist(thing.centre, other.centre) > thing.radius + other.radius
        if scene.writing is not None:
            left, top, right, bottom = scene.writing.box
            outside = max(left - x, 0, x - right), max(top - y, 0, y - bottom)
            assert math.hypot(*outside) > thing.radius


@settings(max_examples=60)
@given(seeds)
def test_the_middle_of_a_thing_has_its_colour(index: int) -> None:
    scene, picture = draw_scene(scene_seed("test", 1, index), "shapes")
    pixels = np.asarray(picture, dtype=float)
    for thing in scene.things:
        x, y = (int(side) for side in thing.centre)
        seen = pixels[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
        nearest = min(COLOURS, key=lambda name: float(np.abs(seen - np.array(COLOURS[name])).sum()))
        assert nearest == thing.colour


@settings(max_examples=60)
@given(seeds, st.sampled_from([*GROUNDS.values()]))
def test_a_ground_has_its_colour_and_what_lies_on_it_stands_out(index: int, ground: Colour) -> None:
    scene, picture = draw_scene(scene_seed("test", 6, index), "shapes", ground=ground)
    pixels = np.asarray(picture, dtype=float)
    corners = np.stack([pixels[y, x] for y in (0, -1) for x in (0, -1)])
    # patterns swing by 26, noise and JPEG add to that
    assert np.abs(np.median(corners, 0) - ground).max() < 60
    assert {thing.colour for thing in scene.things} <= set(standing_out(ground))
    repainted, other = draw_scene(scene_seed("test", 6, index), "shapes", ground=ground, painted=(9, 90, 190))
    assert repainted == scene and other.size == picture.size


@settings(max_examples=60)
@given(seeds, st.sampled_from(("number", "small")))
def test_every_digit_is_inked_in_the_middle_of_its_box(index: int, kind: str) -> None:
    scene, picture = draw_scene(scene_seed("test", 2, index), kind)
    assert scene.writing is not None
    left, top, right, bottom = scene.writing.box
    assert min(left, top) >= 0 and right <= scene.width and bottom <= scene.height
    assert len(scene.writing.digits) == len(scene.writing.text)
    assert all(left <= x <= right and top <= y <= bottom for x, y in scene.writing.digits)
    inside = np.asarray(picture.convert("L"), dtype=float)[top:bottom, left:right]
    assert np.ptp(inside) > 50


@settings(max_examples=60)
@given(seeds)
def test_small_writing_has_three_digits_too_small_for_one_tile_and_lies_in_one(index: int) -> None:
    scene, _ = draw_scene(scene_seed("test", 3, index), "small")
    assert scene.writing is not None
    assert len(scene.writing.text) == 3
    assert 11 <= scene.writing.height <= 13
    left, top, right, bottom = scene.writing.box
    columns, rows = round(scene.width / TILE), round(scene.height / TILE)
    assert int(columns * left / scene.width) == int(columns * right / scene.width)
    assert int(rows * top / scene.height) == int(rows * bottom / scene.height)
    digit_width = (right - left) / 3
    assert digit_width * TILE / scene.width < 4.6 or scene.writing.height * TILE / scene.height < 4.6
