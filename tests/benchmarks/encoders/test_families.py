"""The benchmark of every backbone, on towers that take no time: all are there, green is timed, red is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from benchmarks.encoders import families
from benchmarks.encoders.checkpoints import BACKBONES, Backbone, Sizes
from kernels.measure import Call
from service.families.backbones import BACKBONES as SHARED
from service.families.towers import TiledImage, Tower

SMALL = Sizes(64, 128, 3, 2, 112, ((112, 112), (168, 112), (84, 140)))


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda one: one.name)
def test_a_tower_is_no_farther_from_the_truth_and_is_timed(backbone: Backbone, tmp_path: Path) -> None:
    result = families.measure(backbone, tmp_path, dtype="float32", sizes=SMALL, batches=(1, 2), rounds=1)
    assert result.ours < 1e-4 and result.transformers < 1e-4
    if not result.red:  # in float32 either may be nearer
        assert [timed.batch for timed in result.timed] == [1, 2]
        assert all(timed.ours > 0 and timed.transformers > 0 for timed in result.timed)


def test_every_shared_backbone_is_among_them() -> None:
    assert len({one.name for one in BACKBONES}) == len(BACKBONES) >= len(SHARED)
    told = " ".join(one.name for one in BACKBONES)
    assert all(word in told for word in ("CLIP", "SigLIP", "InternViT", "EVA"))


@pytest.mark.parametrize("chosen", [BACKBONES[0].name, BACKBONES[6].name])
def test_a_table_of_what_was_chosen(chosen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "table.md"
    assert families.main(["--backbone", chosen, "--rounds", "1", "--write", str(written)], SMALL) == 0
    machine, sizes, _, head, line, *rows = written.read_text().splitlines()
    assert "threads" in machine and sizes.startswith("bfloat16, ")
    assert head.count("|") == line.count("|") == rows[0].count("|")
    assert [row.split(" | ")[0] for row in rows] == [f"| {chosen}"] * 2
    assert written.read_text() in capsys.readouterr().out


def test_a_tower_that_is_farther_is_named_and_not_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = families._soft_tokens

    def off(tower: Tower, images: Sequence[TiledImage]) -> Call:
        call = right(tower, images)
        return lambda: 1.02 * call()

    monkeypatch.setattr(families, "_soft_tokens", off)
    assert families.main(["--backbone", "CLIP", "--rounds", "1"], SMALL) == 1
    told = capsys.readouterr()
    assert "GATE RED, not timed: CLIP is off by" in told.err
    assert "| CLIP |" not in told.out


def test_numbers_that_are_not_finite_are_red() -> None:
    result = families.Result(BACKBONES[0], "fused", float("inf"), 1.0, ())
    assert result.red
    assert families.Result(BACKBONES[0], "fused", torch.nan, 1.0, ()).red
