"""The search, but for the GPU's times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kernels import tune
from kernels.measure import Call
from kernels.patch_embed.configs import Config
from kernels.patch_embed.tuned import Entry

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
