"""Accuracy by ground: the same questions from the same seed, a line for each ground, exit status by the worst."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from demo import evaluate_grounds, groups
from demo.cases import GROUND_KINDS, OF_EACH_GROUP, draw_ground_cases, judge_groups
from demo.grounds import GROUNDS


def test_every_kind_is_asked_on_every_ground_and_its_colour_is_seen() -> None:
    cases = draw_ground_cases(10, 1)
    assert [(name, case.text, case.answer) for name, case in cases] == [
        (name, case.text, case.answer) for name, case in draw_ground_cases(10, 1)
    ]
    for ground, colour in GROUNDS.items():
        asked = [case for name, case in cases if name == ground]
        assert [case.kind for case in asked] == list(GROUND_KINDS) * 2
        corner = np.median([case.pictures[0].getpixel((0, 0)) for case in asked], axis=0)
        assert np.abs(corner - colour).max() < 60


def test_a_ground_passes_at_its_threshold_and_fails_below() -> None:
    cases = [("white", case) for _, case in draw_ground_cases(8, 1)[:100]]
    enough = int(np.ceil(OF_EACH_GROUP * len(cases)))
    for right, passed in ((enough, True), (enough - 1, False)):
        answers = [case.answer if i < right else "?" for i, (_, case) in enumerate(cases)]
        (line,) = judge_groups(cases, answers)
        assert (line.group, line.right, line.asked, line.passed) == ("white", right, len(cases), passed)
        assert line.share() == right / len(cases)
        assert sum(hits for hits, _ in line.kinds.values()) == right


@pytest.mark.parametrize(("failing", "status"), [((), 0), (("red",), 1)])
def test_the_command_tells_each_ground_and_ends_by_the_worst(
    failing: tuple[str, ...],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cases = draw_ground_cases(5, 3)
    answers = ["?" if name in failing else case.answer for name, case in cases]
    monkeypatch.setattr(groups, "ask_all", lambda args, asked: answers)
    monkeypatch.setattr("sys.argv", ["x", "--n", "5", "--seed", "3", "--json", str(tmp_path / "r.json")])
    assert evaluate_grounds.main() == status
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("  ")[0] for row in rows[1:]] == list(GROUNDS)
    assert [row for row in rows if "FAILED" in row] == [row for row in rows if row.startswith(failing or "!")]
    kept = json.loads((tmp_path / "r.json").read_text())
    assert kept["white"] == {
        "passed": True,
        "kinds": {kind: {"right": 1, "asked": 1} for kind in GROUND_KINDS},
    }


def test_status_2_when_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--n", "1", "--url", "http://127.0.0.1:9"])
    assert evaluate_grounds.main() == 2
    assert "could not ask" in capsys.readouterr().err
