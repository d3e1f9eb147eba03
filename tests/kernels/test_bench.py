"""The benchmark's gate, its rows and its exit status, on a shape that takes no time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels import bench, measure
from kernels.compiling import compiled
from kernels.measure import LEAST_ROUNDS, WARM_UP, Call, alternate, percentiles, relative_error
from kernels.patch_embed import bench as patch_embed_bench
from kernels.patch_embed import patch_embed
from kernels.towers.towers import clip, internvl

CPU = torch.device("cpu")
TINY = internvl("tiny/14-56", 56, 32, 0, 2, 64, 32)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "KERNELS", {"patch_embed": patch_embed_bench.run})
    monkeypatch.setattr(patch_embed_bench, "ON_CPU", ((TINY, 4),))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_green_gate_writes_a_row_per_provider_mode_and_dtype(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_csv, as_json = tmp_path / "rows.csv", tmp_path / "rows.json"
    assert bench.main(["--rounds", "2", "--write", str(as_csv), "--write", str(as_json)]) == 0
    rows = json.loads(as_json.read_text())
    assert [(r["dtype"], r["mode"], r["provider"]) for r in rows] == [
        (dtype, mode, provider)
        for dtype in ("bf16", "fp32")
        for mode in ("eager", "processor")
        for provider in ("cpu", "eager", "transformers", "gemm")
    ]
    for row in rows:
        assert 0 < row["p20_us"] <= row["p50_us"] <= row["p80_us"] <= row["p99_us"]
        assert row["torch"] == torch.__version__
        assert (row["error"] is None) == (row["provider"] == "gemm")
        assert (row["fraction_of_floor"] == 1) == (row["provider"] == "gemm")
    with as_csv.open() as file:
        assert [row["provider"] for row in csv.DictReader(file)] == [row["provider"] for row in rows]
    assert "tiny/14-56" in capsys.readouterr().out


def test_red_gate_reports_no_time_and_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def forgetful(*arguments: object, out: torch.Tensor | None = None, **options: object) -> torch.Tensor:
        tokens = patch_embed(*arguments, **options)  # type: ignore[arg-type]
        if out is None:
            return tokens
        out[:, :-1] = tokens[:, :-1]  # the last token is never written
        return out

    monkeypatch.setattr(patch_embed_bench, "patch_embed", forgetful)
    written = tmp_path / "rows.json"
    assert bench.main(["--rounds", "2", "--write", str(written)]) == 1
    assert json.loads(written.read_text()) == []
    assert "GATE RED, not timed: patch_embed tiny/14-56 batch 4 bf16: backend 'cpu' is off by inf" in (
        capsys.readouterr().err
    )


def test_a_cases_rows_are_written_before_the_next_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written = tmp_path / "rows.csv", tmp_path / "rows.json"
    seen: list[tuple[int, int]] = []
    right = patch_embed_bench.measure_errors

    def looking(*arguments: Any) -> dict[str, float]:
        if seen:
            raise KeyboardInterrupt  # as an operator would, in the second case
        seen.append((len(written[0].read_text().splitlines()), len(json.loads(written[1].read_text()))))
        return right(*arguments)

    monkeypatch.setattr(patch_embed_bench, "measure_errors", looking)
    with pytest.raises(KeyboardInterrupt):
        bench.main(["--rounds", "2", *(word for path in written for word in ("--write", str(path)))])
    assert seen == [(1, 0)]  # the heading alone
    with written[0].open() as file:
        assert {row["dtype"] for row in csv.DictReader(file)} == {"bf16"}
    assert len(json.loads(written[1].read_text())) == 8


def test_nothing_that_is_selected_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--shape", "tiny/14-65"]) == 2
    assert "there is no case of that shape and batch" in capsys.readouterr().err


def test_rows_name_the_commit_that_is_given(tmp_path: Path) -> None:
    written = tmp_path / "rows.json"
    assert bench.main(["--rounds", "2", "--commit", "0123456789", "--write", str(written)]) == 0
    assert {row["commit"] for row in json.loads(written.read_text())} == {"0123456789"}


def test_the_chain_is_one_graph() -> None:
    """Which `torch.compile` gets: with a break in it, it would be compiled in pieces."""
    case = patch_embed_bench.Case.draw(TINY, 2, torch.float32, CPU)
    chain = patch_embed_bench.providers(case, "cpu")["eager"]
    torch.testing.assert_close(compiled(chain, backend="eager")(), chain())


def test_a_layer_norm_in_front_of_the_blocks_is_part_of_every_provider() -> None:
    case = patch_embed_bench.Case.draw(clip("clip/14-56", 56, 32, 0, 2, 64, 32), 2, torch.float32, CPU)
    exact = case.in_fp64()
    assert exact.mean(-1).abs().max() < 0.1  # the parameters move it a little
    for name, call in patch_embed_bench.providers(case, "cpu").items():
        assert relative_error(call(), exact) < 1e-6, name


def test_another_form_of_the_chain_that_is_wrong_is_named_too() -> None:
    case = patch_embed_bench.Case.draw(TINY, 1, torch.bfloat16, CPU)
    errors = {"cpu": 1e-3, "eager": 2e-3, "transformers": 2.9e-3, "compile": 3.1e-3}
    assert patch_embed_bench.gate(case, "cpu", errors) == [
        "patch_embed tiny/14-56 batch 1 bf16: 'compile' is off by 3.100e-03, allowed are 3.000e-03"
    ]


def test_rows_go_to_csv_or_json_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--write", "rows.txt"])
    assert "rows.txt: must end in .csv or .json" in capsys.readouterr().err


def test_an_unwritten_element_is_an_infinite_error() -> None:
    exact = torch.ones(3, dtype=torch.float64)
    assert relative_error(torch.tensor([1.0, float("nan"), 1.0]), exact) == float("inf")
    assert relative_error(torch.tensor([1.0, float("inf"), 1.0]), exact) == float("inf")
    assert relative_error(torch.tensor([1.0, 1.0, 2.0]), exact) == pytest.approx(3**-0.5)


def test_calls_take_turns_and_nobody_is_always_first() -> None:
    order: list[str] = []

    def call(name: str) -> torch.Tensor:
        order.append(name)
        return torch.empty(0)

    seconds = alternate({"a": lambda: call("a"), "b": lambda: call("b")}, 3, CPU, "eager")
    assert order == ["a"] * WARM_UP + ["b"] * WARM_UP + ["a", "b"] + ["b", "a"] + ["a", "b"]
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 3, "b": 3}


def test_graphs_share_one_buffer_that_flushes_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """One each would be gigabytes for the candidates of a search."""
    flushes: list[torch.Tensor] = []

    def timer(call: Call, device: torch.device, flush: torch.Tensor) -> Callable[[], float]:
        flushes.append(flush)
        return lambda: float(call())

    monkeypatch.setattr(measure, "_graph_timer", timer)
    monkeypatch.setattr(measure, "L2_FLUSH_BYTES", 64)
    seconds = alternate({"a": lambda: torch.tensor(1.0), "b": lambda: torch.tensor(2.0)}, 5, CPU, "graph")
    assert seconds == {"a": [1.0] * 5, "b": [2.0] * 5}
    assert flushes[0] is flushes[1] and flushes[0].nbytes == 64


def test_percentiles_are_in_microseconds() -> None:
    assert percentiles([s / 10 for s in range(11)]) == pytest.approx((2e5, 5e5, 8e5, 9.9e5))


def test_slow_calls_get_fewer_rounds() -> None:
    calls = {"a": lambda: torch.zeros(1)}
    assert len(alternate(calls, 50, CPU, "eager", 0.0)["a"]) == LEAST_ROUNDS
    assert len(alternate(calls, 3, CPU, "eager", 0.0)["a"]) == 3
    assert len(alternate(calls, 50, CPU, "eager")["a"]) == 50
