"""What is reported of two servers under the same load, and when nothing may be."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.against_vllm import Turn, faults, read, table, write


def cell(p95: float | None = 100.0, **counts: int) -> dict[str, Any]:
    usual = {"started": 10, "right": 10, "wrong": 0, "refused": 0, "failed": 0, "prompt_tokens": 900}
    return usual | counts | {"first_token_ms": {"count": 10, "p50": 50.0, "p95": p95, "p99": p95}}


def turn(server: str, round: int = 1, **what: Any) -> Turn:
    plain = Turn(server, 2.0, round, "all", 10, 10, 0, 0, 0, 900, 50.0, 100.0, 100.0)
    return replace(plain, **what)


def test_a_summary_becomes_a_turn_of_all_and_of_each_kind() -> None:
    summary = {"figures": cell(), "kinds": {"chat": cell(p95=None, right=9, failed=1)}}
    whole, chat = read(summary, "vllm", 2.0, 3)
    assert whole == turn("vllm", round=3)
    assert chat == turn("vllm", round=3, kind="chat", right=9, failed=1, p95=math.inf, p99=math.inf)


@pytest.mark.parametrize("end", ["wrong", "refused", "failed"])
def test_a_request_that_patchbay_did_not_answer_rightly_forbids_the_report(end: str) -> None:
    (said,) = faults([turn("patchbay", right=9, **{end: 1}), turn("vllm", right=0, failed=10)])
    assert f"1 {end}" in said


def test_what_vllm_does_not_answer_is_a_finding_and_no_fault() -> None:
    turns = [turn("patchbay"), turn("vllm", right=7, failed=3)]
    assert faults(turns) == []
    assert table(turns).endswith("| 3 of 10 |")


def test_medians_over_the_rounds_with_their_spread_and_their_ratio() -> None:
    turns = [turn("patchbay", n, p95=p95) for n, p95 in enumerate((90.0, 100.0, 200.0))]
    turns += [turn("vllm", n, p95=p95) for n, p95 in enumerate((300.0, 400.0, 250.0))]
    line = table(turns).splitlines()[-1]
    assert "| 100 (90–200) |" in line and "| 300 (250–400) |" in line
    assert "| 1.00 | 3.00 |" in line


def test_first_tokens_that_never_came_are_told_as_such() -> None:
    line = table([turn("patchbay"), turn("vllm", p95=math.inf)]).splitlines()[-1]
    assert "inf (inf–inf)" in line and "| 1.00 | inf |" in line


def test_a_kind_that_was_not_asked_of_one_side_has_no_figures_and_no_ratio() -> None:
    summary = {"figures": cell(), "kinds": {"huge": cell(p95=None, started=0, right=0)}}
    assert [found.kind for found in read(summary, "vllm", 2.0, 1)] == ["all"]
    line = table([turn("patchbay", kind="huge")]).splitlines()[-1]
    assert line == "| 2 | huge | 50 (50–50) | 100 (100–100) | – | – | – | – | 0 of 0 |"


def test_rows_carry_where_and_with_what_they_were_measured(tmp_path: Path) -> None:
    write([turn("patchbay"), turn("vllm")], tmp_path / "rows.csv")
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert [row["server"] for row in rows] == ["patchbay", "vllm"]
    assert all(row["vllm"] and row["torch"] and row["device"] and row["cores"] for row in rows)
