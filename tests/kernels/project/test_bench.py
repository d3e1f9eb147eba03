"""The benchmark's gate and rows, on shapes that take no time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from kernels import bench as all_kernels
from kernels.compiling import compiled
from kernels.measure import relative_error
from kernels.project import Merge, project
from kernels.project import bench as project_bench
from kernels.project.bench import Case, Shape, chain
from kernels.report import describe_machine
from kernels.selection import Selection

CPU = torch.device("cpu")
TINY = Shape("tiny", 64, 48, (64, 40), Merge(2), 1, "layer")
SHAPES = (
    TINY,
    replace(TINY, merge=Merge(2, "given"), norm="rms"),
    replace(TINY, merge=Merge(), norm=None, widths=(40,), skip=0),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_bench, "ON_CPU", ((TINY, 4),))


def test_it_is_one_of_the_kernels() -> None:
    assert all_kernels.KERNELS["project"] is project_bench.run


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.merge.order}-{shape.norm}")
def test_the_chain_is_the_specification(shape: Shape) -> None:
    case = Case.draw(shape, 3, torch.float32, CPU)
    assert relative_error(chain(case, case.hidden), case.in_fp64()) < 1e-6


def test_green_gate_gives_a_row_per_provider_mode_and_dtype() -> None:
    reports = list(project_bench.run(CPU, 2, describe_machine(CPU)))
    assert [report.failures for report in reports] == [[], []]
    rows = [row for report in reports for row in report.rows]
    assert [(row.dtype, row.mode, row.provider) for row in rows] == [
        (dtype, mode, provider)
        for dtype in ("bf16", "fp32")
        for mode in ("eager", "processor")
        for provider in ("cpu", "eager", "gemm")
    ]
    for row in rows:
        assert row.kernel == "project"
        assert (row.error is None) == (row.provider == "gemm")


def test_red_gate_gives_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(hidden: Any, folded: Any, *, out: Any = None, **options: Any) -> torch.Tensor:
        rows = project(hidden, folded, **options)
        if out is not None:
            out[:-1] = rows[:-1]  # the last row is never written
        return rows

    monkeypatch.setattr(project_bench, "project", forgetful)
    first, second = project_bench.run(CPU, 2, describe_machine(CPU))
    assert first.rows == second.rows == []
    assert "project tiny batch 4 bf16: 'cpu' is off by inf, allowed are" in first.failures[0]
    assert len(second.failures) == 1


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.merge.order}-{shape.norm}")
def test_the_chain_is_one_graph(shape: Shape) -> None:
    """Which `torch.compile` gets: with a break in it, it would be compiled in pieces."""
    case = Case.draw(shape, 2, torch.float32, CPU)
    whole = compiled(lambda hidden: chain(case, hidden), backend="eager")
    torch.testing.assert_close(whole(case.hidden), chain(case, case.hidden))


@pytest.mark.parametrize(
    ("only", "batches"),
    [
        (Selection(), [4, 2]),
        (Selection(batches=(2,)), [2]),
        (Selection(("tiny",)), [4]),
        (Selection(("x",)), []),
    ],
)
def test_cases_are_selected_by_shape_and_batch(
    monkeypatch: pytest.MonkeyPatch, only: Selection, batches: list[int]
) -> None:
    monkeypatch.setattr(project_bench, "ON_CPU", ((TINY, 4), (replace(TINY, name="other"), 2)))
    reports = list(project_bench.run(CPU, 2, describe_machine(CPU), only))
    assert [report.rows[0].batch for report in reports[::2]] == batches


def test_what_must_move_and_be_done() -> None:
    shape = Shape("one", 16, 8, (6, 5), Merge(2), 1, "layer")
    assert shape.rows == 4
    assert shape.flops(2) == 2 * 8 * (32 * 6 + 6 * 5)
    weights = 32 * 6 + 6 + 6 * 5 + 5
    assert shape.least_bytes(2, torch.bfloat16) == 2 * (2 * 16 * 8 + 2 * 4 * 5 + weights)
