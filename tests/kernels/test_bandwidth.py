"""The gate and the rows of kernels that only read and write, on a shape that takes no time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from kernels import bandwidth
from kernels.backend import Backend
from kernels.bandwidth import Benchmark, Case
from kernels.report import Machine, describe_machine
from kernels.selection import Selection

CPU = torch.device("cpu")


def double(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return 2 * x, x


def in_place(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    before = x.clone()
    return x.mul_(2), before


@dataclass(frozen=True)
class Shape:
    name: str


TINY = Shape("tiny")


def draw(shape: Shape, batch: int, dtype: torch.dtype, device: torch.device, backend: Backend) -> Case:
    x = torch.arange(12.0, device=device).to(dtype)
    return Case(
        kernel="double",
        shape=shape.name,
        batch=batch,
        inputs=(x,),
        exact=(2 * x.double(), x.double()),
        providers={backend: in_place, "eager": double},
        least_bytes=2 * x.nbytes,
        flops=12,
    )


def machine() -> Machine:
    return describe_machine(CPU)


def test_each_provider_mode_and_dtype_has_a_row() -> None:
    reports = list(Benchmark(draw, [(TINY, 1)], [])(CPU, 2, machine()))
    rows = [row for report in reports for row in report.rows]
    assert [report.failures for report in reports] == [[], []]
    assert [(row.dtype, row.mode, row.provider) for row in rows] == [
        (dtype, mode, provider)
        for dtype in ("bf16", "fp32")
        for mode in ("eager", "processor")
        for provider in ("cpu", "eager", "copy")
    ]
    for row in rows:
        assert (row.error is None) == (row.provider == "copy")
        assert row.fraction_of_floor == 1 or row.provider != "copy"
        assert row.gbytes_per_s > 0


def test_only_what_is_selected_runs() -> None:
    run = Benchmark(draw, [(TINY, 1), (TINY, 8), (Shape("other"), 8)], [])
    reports = list(run(CPU, 2, machine(), Selection(("tiny",), (8,))))
    assert {(row.shape, row.batch) for report in reports for row in report.rows} == {("tiny", 8)}


def test_what_one_provider_writes_is_no_input_of_another() -> None:
    case = draw(TINY, 1, torch.float32, CPU, "cpu")
    assert bandwidth.measure_errors(case) == {"cpu": 0, "eager": 0}


@pytest.mark.parametrize("wrong", [0, 1])
def test_one_wrong_result_of_several_is_not_timed(wrong: int) -> None:
    def spoiled(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = list(double(x))
        made[wrong] = made[wrong] + 1
        return tuple(made)

    def with_it(shape: Shape, batch: int, dtype: torch.dtype, device: torch.device, backend: Backend) -> Case:
        case = draw(shape, batch, dtype, device, backend)
        return replace(case, providers={backend: spoiled, "eager": double})

    reports = list(Benchmark(with_it, [(TINY, 1)], [])(CPU, 2, machine()))
    assert [report.rows for report in reports] == [[], []]
    assert [report.failures[0].partition(" is off by ")[0] for report in reports] == [
        "double tiny batch 1 bf16: backend 'cpu'",
        "double tiny batch 1 fp32: backend 'cpu'",
    ]


def test_a_result_that_rounds_as_often_as_the_chain_passes() -> None:
    case = draw(TINY, 1, torch.float32, CPU, "cpu")
    assert bandwidth.gate(case, "cpu", {"cpu": 1.005e-3, "eager": 1e-3}) == []
    assert bandwidth.gate(case, "cpu", {"cpu": 9e-7, "eager": 1e-8}) == []
    assert len(bandwidth.gate(case, "cpu", {"cpu": 1.02e-3, "eager": 1e-3})) == 1
    assert len(bandwidth.gate(case, "cpu", {"cpu": float("nan"), "eager": 1e-3})) == 1
