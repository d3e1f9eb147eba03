"""The search, but for the GPU's times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kernels import tune
from kernels.cubin import Cost
from kernels.measure import Call
from kernels.patch_embed import configs, tuned
from kernels.patch_embed.bench import Case
from kernels.patch_embed.configs import Config
from kernels.patch_embed.tuned import Entry
from kernels.spread import spread
from kernels.towers.towers import clip, vit

A, B, C = (Config(64, 64, 64, 4, stages) for stages in (2, 3, 4))


def test_without_a_gpu_it_refuses_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    table = tmp_path / "table.json"
    assert tune.main(["--table", str(table)]) == 2
    assert "there is no CUDA device here" in capsys.readouterr().err
    assert not table.exists()


def test_what_spills_or_does_not_fit_is_no_candidate() -> None:
    fits, spills = Config(64, 64, 64, 4, 3), Config(128, 256, 64, 8, 3)
    assert tune.without_spills([fits, spills], 90, 14, shared=227 * 1024) == [fits]
    assert tune.without_spills([fits], 90, 14, shared=1024) == []


def test_candidates_are_compiled_side_by_side_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    fits, spills = Config(64, 64, 64, 4, 3), Config(128, 256, 64, 8, 3)
    seen: list[int | None] = []

    def noted(function: Callable[[Config], Cost], items: list[Config], jobs: int | None) -> list[Cost]:
        seen.append(jobs)
        return spread(function, items, jobs)

    monkeypatch.setattr(tune, "spread", noted)
    assert tune.without_spills([spills, fits], 90, 14, shared=227 * 1024, jobs=2) == [fits]
    assert seen == [2]


def test_shapes_are_written_as_they_are_searched_until_the_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With everything of a GPU taken out but the loop."""
    table, now, launched = tmp_path / "table.json", [0.0], []
    old = Entry("NVIDIA A100", 80, 14, 1024, 577, A, 5.0)
    tuned.save([old], table)

    def search(case: Case, candidates: list[Config], rounds: int) -> Entry:
        now[0] += 60.0
        # what was found before is there already
        assert len(tuned.load(table)) == now[0] / 60
        return Entry("NVIDIA H100", 90, case.front.tower.patch, 32, len(case.tiles), candidates[0], 1.0)

    device = torch.device("cpu")
    tower = vit("tiny/14-56", 56, 14, 32, 0, 2, 64)
    shapes = ((tower, 1), (clip("clip/14-56", 56, 32, 0, 2, 64, 32), 1), (tower, 8), (tower, 64))
    monkeypatch.setattr(tune, "ON_GPU", shapes)
    monkeypatch.setattr(tune, "_search", search)
    monkeypatch.setattr(tune, "_device", lambda: (device, 227 * 1024))
    monkeypatch.setattr(tune, "without_spills", lambda candidates, *rest: [B])
    monkeypatch.setattr(tune, "spread", lambda function, items, jobs: launched.append(items))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert tune.main(["--table", str(table), "--limit", "90"]) == 3
    assert [(entry.gpu, entry.tokens) for entry in tuned.load(table)] == [
        ("NVIDIA A100", 577),
        ("NVIDIA H100", 1),
        ("NVIDIA H100", 8),
    ]
    assert launched == [[B]]  # once for a tower, whatever its batch
    assert "LIMIT: 90 s were over before tiny/14-56 batch 64" in capsys.readouterr().err


def test_shapes_that_wait_for_a_gpu_are_searched_once() -> None:
    assert set(configs.FLAT[90]) < set(tune.CANDIDATES)
    assert len(set(tune.CANDIDATES)) == len(tune.CANDIDATES)


def test_the_fastest_that_is_right_wins() -> None:
    out, exact = torch.empty(4), torch.ones(4)

    def writes(value: float, count: int = 4) -> Call:
        return lambda: out.index_fill_(0, torch.arange(count), value)

    def times(calls: Mapping[str, Call]) -> dict[str, list[float]]:
        taken = {str(A): [3.0, 3.0, 9.0], str(B): [4.0, 2.0, 2.0], str(C): [1.0]}
        return {name: taken[name] for name in calls}

    calls = {A: writes(1), B: writes(1.001), C: writes(1, count=3)}  # C leaves one to whoever was before
    assert tune.fastest(calls, out, exact, 0.01, times) == (B, 2.0)
    assert tune.fastest(calls, out, exact, 1e-6, times) == (A, 3.0)
    with pytest.raises(RuntimeError, match="none of 1 block shapes is off by"):
        tune.fastest({C: calls[C]}, out, exact, 0.01, times)


def test_other_gpus_keep_their_entries() -> None:
    old = Entry("NVIDIA H200", 90, 14, 1024, 577, A, 5.0)
    other, new = replace(old, gpu="NVIDIA A100"), replace(old, config=B, tokens=4616)
    assert tune.merged([old, other], [new]) == [other, new]
