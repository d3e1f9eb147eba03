"""Rows come one report at a time, until the limit."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kernels.publish import CUT_OFF, GREEN, NOTHING, RED, publish
from kernels.report import COLUMNS, Report, Row, describe_machine, heading, lines

MACHINE = describe_machine(torch.device("cpu"), "abc")


def row(batch: int) -> Row:
    return Row("kernel", "ours", "eager", "shape", batch, "bf16", 1, 2, 3, 4, 5, 6, 0.5, 1e-3, MACHINE)


def written(path: Path) -> list[str]:
    with path.open() as file:
        return [row["batch"] for row in csv.DictReader(file)]


def test_after_the_limit_no_further_case_is_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now, path = [0.0], tmp_path / "rows.csv"

    def reports() -> Iterator[Report]:
        for batch in (1, 2, 3):
            now[0] += 20.0
            yield Report([row(batch)], [])

    assert publish(reports(), [path], 30.0, clock=lambda: now[0]) == CUT_OFF
    assert written(path) == ["1", "2"]
    assert "LIMIT: 30 s were over after 2 cases" in capsys.readouterr().err


def test_a_red_gate_tells_more_than_the_limit() -> None:
    now = [0.0]

    def reports() -> Iterator[Report]:
        now[0] = 99.0
        yield Report([], ["wrong"])
        yield Report([row(1)], [])

    assert publish(reports(), [], 30.0, clock=lambda: now[0]) == RED


def test_one_red_gate_among_others_is_red(capsys: pytest.CaptureFixture[str]) -> None:
    reports = [Report([row(1)], []), Report([], ["kernel shape batch 2"]), Report([row(3)], [], ["a note"])]
    assert publish(reports, []) == RED
    told = capsys.readouterr()
    assert told.out.splitlines() == [heading(), *lines([row(1)]), *lines([row(3)]), "a note"]
    assert told.err == "GATE RED, not timed: kernel shape batch 2\n"


def test_all_green_and_nothing_at_all() -> None:
    assert publish([Report([row(1)], [])], [], 30.0) == GREEN
    assert publish([], []) == NOTHING


def test_columns_stand_under_their_headings() -> None:
    (line,) = lines([row(64)])
    for name, cell in zip(COLUMNS, ("kernel", "shape", "64", "bf16", "eager", "ours", "1.0"), strict=False):
        assert line.index(cell) == heading().index(name)
