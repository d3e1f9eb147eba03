"""Accuracy by the number of things: as many questions for yes as for no, a line for each number."""

from __future__ import annotations

from collections import Counter

import pytest

from demo import evaluate_presence, groups
from demo.cases import MOST_THINGS, draw_presence_cases


def test_each_number_of_things_is_asked_for_yes_and_no_alike() -> None:
    cases = draw_presence_cases(6, 1)
    assert [(group, case.text, case.answer) for group, case in cases] == [
        (group, case.text, case.answer) for group, case in draw_presence_cases(6, 1)
    ]
    assert Counter((group, case.kind) for group, case in cases) == {
        (f"{things} things", kind): 3 for things in range(1, MOST_THINGS + 1) for kind in ("yes", "no")
    }
    assert all(case.kind == case.answer and len(case.pictures) == 1 for _, case in cases)


def test_the_command_tells_both_answers_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(groups, "ask_all", lambda args, cases: ["no"] * len(cases))
    monkeypatch.setattr("sys.argv", ["x", "--n", "4"])
    assert evaluate_presence.main() == 1
    header, *rows = capsys.readouterr().out.splitlines()
    assert set(header.split()) == {"things", "right", "accuracy", "yes", "no"} and len(rows) == MOST_THINGS
    told = {name: header.split().index(name) for name in ("yes", "no")}
    for row in rows:
        words = row.replace(" things", "").replace(" %", "").split()
        assert (words[told["yes"]], words[told["no"]]) == ("0.0", "100.0") and "FAILED" in row
