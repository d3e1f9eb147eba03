"""Answers agree with the scene, found here by other means than in the code."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.questions import (
    ASKERS,
    CANNOT_READ,
    NO_NUMBER,
    colour,
    content,
    count,
    describe,
    number,
    position,
    presence,
    relation,
    shape,
    two_images,
)
from demo.world import REGIONS, Scene, Thing, Writing, draw_scene, scene_seed

seeds = st.integers(0, 2**31)


def thing(colour: str, shape: str, region: int) -> Thing:
    return Thing(colour, shape, (50.0 + 100 * (region % 3), 50.0 + 100 * (region // 3)), 20.0, region)


def scene(*things: Thing, text: str | None = None, kind: str = "shapes") -> Scene:
    writing = None if text is None else Writing(text, (0, 0, 1, 1), (), 9, "default")
    return Scene(kind, 300, 300, things, writing)


STAR, HEART, MOON = thing("red", "star", 0), thing("blue", "heart", 5), thing("red", "circle", 7)


@settings(max_examples=80)
@given(seeds)
def test_every_answer_is_short_and_settled_by_the_scene(seed: int) -> None:
    drawn, _ = draw_scene(scene_seed("test", 5, seed), "shapes")
    rng = np.random.default_rng(seed)
    for ask in (colour, shape):
        question = ask(rng, drawn)
        if question is not None:
            words = re.findall(r"\w+", question.text)
            matching = [t for t in drawn.things if t.shape in words or t.colour in words]
            assert len(matching) == 1
            assert question.answer in (matching[0].colour, matching[0].shape)
    said = describe(drawn)
    assert all(f"{t.colour} {t.shape}" in said for t in drawn.things)
    assert len(re.split(", | and ", said)) == len(drawn.things)


@given(seeds)
def test_counts(seed: int) -> None:
    question = count(np.random.default_rng(seed), scene(STAR, HEART, MOON))
    words = question.text.rstrip(".?").split()
    expected = {"objects": 3, "shapes": 3, "stars": 1, "hearts": 1, "circles": 1}
    if "red" in words:
        assert question.answer == "2"
    elif "blue" in words:
        assert question.answer == "1"
    elif "image" in words:
        assert question.answer == "3"
    elif set(words) & {"yellow", "green", "orange", "purple", "white", "black"}:
        assert question.answer == "0"
    else:
        noun = next(word for word in words if word.endswith("s") and word != "is")
        assert question.answer == str(expected.get(noun, 0))


@given(seeds)
def test_presence_is_true_to_colour_and_shape_together(seed: int) -> None:
    question = presence(np.random.default_rng(seed), scene(STAR, HEART, MOON))
    found = re.search(r"an? (?:(\w+) )?(\w+?)(?: in the image)?\?", question.text)
    assert found is not None
    first, second = found.group(1), found.group(2)
    here = {"red star", "blue heart", "red circle", "star", "heart", "circle", "red object", "blue object"}
    assert question.answer == ("yes" if " ".join(filter(None, (first, second))) in here else "no")


def test_presence_asks_yes_and_no_alike() -> None:
    rng = np.random.default_rng(0)
    yes = sum(presence(rng, scene(STAR, HEART)).answer == "yes" for _ in range(400))
    assert 150 < yes < 250


@given(seeds)
def test_positions_and_contents_are_each_others_inverse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    where, what = position(rng, scene(STAR, HEART)), content(rng, scene(STAR, HEART))
    assert where is not None and what is not None
    assert REGIONS.index(where.answer) == (0 if "star" in where.text else 5)
    assert what.answer == ("red star" if "top left" in what.text else "blue heart")


@given(seeds)
def test_relations(seed: int) -> None:
    question = relation(np.random.default_rng(seed), scene(STAR, HEART))
    assert question is not None
    star_first = question.text.startswith("Is the red star")
    before = "left of" in question.text or "above" in question.text
    assert question.answer == ("yes" if star_first == before else "no")


def test_nothing_is_asked_that_the_scene_leaves_open() -> None:
    rng = np.random.default_rng(0)
    twins = scene(thing("red", "star", 0), thing("red", "star", 4))
    assert colour(rng, twins) is shape(rng, twins) is position(rng, twins) is relation(rng, twins) is None
    assert content(rng, scene()) is None
    asked = [two_images(rng, twins, twins) for _ in range(20)]
    assert {question.answer for question in asked if question is not None} == {"4"}


@pytest.mark.parametrize(
    ("shown", "readable", "kind", "answer"),
    [
        (scene(text="70", kind="number"), True, "number", "70"),
        (scene(text="123", kind="small"), True, "small writing", "123"),
        (scene(text="123", kind="small"), False, "small writing", CANNOT_READ),
        (scene(STAR), True, "no number", NO_NUMBER),
    ],
)
def test_numbers(shown: Scene, readable: bool, kind: str, answer: str) -> None:
    question = number(np.random.default_rng(0), shown, readable)
    assert (question.kind, question.answer) == (kind, answer)


@given(seeds)
def test_two_images(seed: int) -> None:
    question = two_images(np.random.default_rng(seed), scene(STAR, MOON), scene(HEART))
    assert question is not None
    if "together" in question.text:
        assert question.answer == "3"
    elif "more" in question.text:
        assert question.answer == "the first"
    else:
        assert question.answer == ("the second" if "heart" in question.text else "the first")


def test_every_kind_is_asked_of_a_rich_scene() -> None:
    rng = np.random.default_rng(0)
    for name, ask in ASKERS.items():
        question = ask(rng, scene(STAR, HEART))
        assert question is not None
        assert question.kind == {"number": "no number"}.get(name, name)
