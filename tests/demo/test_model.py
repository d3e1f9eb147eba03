"""The committed checkpoint: loaded by transformers as it is, small, and right about scenes it never saw."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from demo.cases import (
    AT_LEAST,
    SMALL_HIGH,
    SMALL_LOW,
    draw_cases,
    draw_ground_cases,
    judge,
    judge_groups,
)
from demo.offline import Reference

MODEL = Path("demo/model")


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(MODEL)


def test_weights_are_few() -> None:
    assert (MODEL / "model.safetensors").stat().st_size < 25_000_000


def test_held_out_questions_are_mostly_answered_right(reference: Reference) -> None:
    cases = [case for case in draw_cases(87, 5) if case.kind in (*AT_LEAST, SMALL_LOW)]
    lines = {line.kind: line for line in judge(cases, reference.answers(cases))}
    assert sum(lines[kind].right for kind in AT_LEAST) >= 0.6 * sum(lines[kind].asked for kind in AT_LEAST)
    assert lines["shape"].share >= 0.85
    assert lines[SMALL_HIGH].share > lines[SMALL_LOW].share


def test_questions_are_answered_right_on_grounds_of_every_colour(reference: Reference) -> None:
    cases = draw_ground_cases(10, 5)
    lines = judge_groups(cases, reference.answers([case for _, case in cases]))
    assert sum(line.right for line in lines) >= 0.88 * len(cases)
    assert [line.group for line in lines if line.share() < 0.5] == []


def test_a_conversation_without_a_picture(reference: Reference) -> None:
    assert "Patchbay" in reference.ask((), "Who are you?")


def test_the_prompt_holds_the_pictures_before_the_text(reference: Reference) -> None:
    pictures = (Image.new("RGB", (120, 120)), Image.new("RGB", (120, 120)))
    assert reference.prompt(pictures, "Same colour?") == (
        "<|im_start|>user\n<IMG_CONTEXT>\n<IMG_CONTEXT>\nSame colour?<|im_end|>\n<|im_start|>assistant\n"
    )
