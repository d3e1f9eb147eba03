"""The benchmark of int8: a sample of its gate, and that it refuses where the gate is red."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.precision import __main__ as command
from benchmarks.precision import answers, speed
from demo.cases import draw_cases
from demo.offline import Reference
from kernels.eight_bit.choice import obstacle_to_int8
from service.settings import EMBEDDED_MODEL

OBSTACLE = obstacle_to_int8(torch.device("cpu"), torch.float32)
can_run = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
GREEN = answers.Answers(asked=200, right=(180, 179), changed=(("What is it?", "a cat", "a dog"),))
TOOK = tuple(speed.Took(wall, 2 * wall) for wall in (1.0, 2.0, 4.0))


@can_run
def test_answers_of_the_embedded_model_are_those_of_full_precision() -> None:
    made = answers.compare(Reference(Path(EMBEDDED_MODEL)), draw_cases(25, 11))
    assert made.asked == 25 and made.right[0] > 15
    assert len(made.changed) <= 1, made.changed


@can_run
def test_afterwards_the_model_is_as_it_was() -> None:
    reference = Reference(Path(EMBEDDED_MODEL))
    encoder = reference._model.model.vision_tower.encoder
    own = encoder.layer
    with answers.in_int8(reference):
        assert encoder.layer is not own
    assert encoder.layer is own


def test_one_changed_answer_in_a_hundred_is_the_most() -> None:
    assert replace(GREEN, changed=GREEN.changed * 2).passed
    assert not replace(GREEN, changed=GREEN.changed * 3).passed


def test_nothing_is_timed_where_answers_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    red = replace(GREEN, asked=5)
    monkeypatch.setattr(command, "compare", lambda reference, cases: red)
    monkeypatch.setattr(command, "measure", None)
    assert command.main(["embedded", "--questions", "5"]) == 1
    told = capsys.readouterr()
    assert "4 of 5 answers" in told.out and "What is it? 'a cat', in int8 'a dog'" in told.out
    assert "nothing is timed" in told.err


@pytest.mark.parametrize(("error", "status"), [(0.01, 0), (0.06, 1), (0.0, 1)])
def test_a_tower_that_is_too_far_off_is_not_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: float, status: int
) -> None:
    case = speed.Case("embedded", 8, "float32", error, TOOK, TOOK[::-1])
    monkeypatch.setattr(command, "compare", lambda reference, cases: GREEN)
    monkeypatch.setattr(command, "measure", lambda *_: [case])
    assert command.main(["embedded", "--questions", "1"]) == status
    line = capsys.readouterr().out.splitlines()[-1]
    if status:
        assert line.startswith("| embedded | float32 | 8 |") and line.endswith("not timed |")
    else:
        assert "2000.0 (1500.0–3000.0)" in line and line.endswith("| 1.00 (0.62–2.50) | 1.00 (0.62–2.50) |")


@can_run
def test_a_tower_is_measured_in_both_precisions() -> None:
    one, two = speed.measure("embedded", Path(EMBEDDED_MODEL), "float32", [1, 2], rounds=2)
    assert (one.tiles, two.tiles) == (1, 2) and one.passed and two.passed
    assert len(one.full) == len(one.int8) == 2 and min(one.ratios("wall")) > 0


def test_an_unknown_shape_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["vit-g"])
    assert "shape: got vit-g, allowed are embedded" in capsys.readouterr().err
