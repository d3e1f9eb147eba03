"""The table of what searches found."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.patch_embed import aot, tuned
from kernels.patch_embed.configs import Config
from kernels.patch_embed.fold import ALIGNMENT
from kernels.patch_embed.tuned import Entry, find, load, save

SMALL, LARGE = Config(64, 64, 64, 4, 3), Config(128, 128, 64, 8, 3)
TABLE = (
    Entry("NVIDIA H200", 90, 14, 1024, 577, SMALL, 4.5),
    Entry("NVIDIA H200", 90, 14, 1024, 64 * 577, LARGE, 96.0),
    Entry("NVIDIA A100", 80, 14, 1024, 577, LARGE, 9.0),
)


@pytest.mark.parametrize(
    ("gpu", "patch", "hidden", "tokens", "expected"),
    [
        ("NVIDIA H200", 14, 1024, 577, SMALL),
        ("NVIDIA H200", 14, 1024, 2 * 577, SMALL),
        ("NVIDIA H200", 14, 1024, 3 * 577, None),
        ("NVIDIA H200", 14, 1024, 32 * 577, LARGE),
        ("NVIDIA H200", 14, 1024, 129 * 577, None),
        ("NVIDIA A100", 14, 1024, 577, LARGE),
        ("NVIDIA H200", 16, 1024, 577, None),
        ("NVIDIA H200", 14, 1152, 577, None),
        ("NVIDIA L4", 14, 1024, 577, None),
    ],
)
def test_the_nearest_of_this_gpu_and_layer_is_found(
    gpu: str, patch: int, hidden: int, tokens: int, expected: Config | None
) -> None:
    assert find(TABLE, gpu, patch, hidden, tokens) == expected


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    save(TABLE, path)
    assert sorted(load(path), key=str) == sorted(TABLE, key=str)
    assert len(path.read_text().splitlines()) == len(TABLE) + 2
    save((), path)
    assert load(path) == ()


@pytest.mark.parametrize("text", ["", "{}x", '[{"gpu": "H200"}]', "[3]"])
def test_what_is_no_table_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="table.json: no table of tuned block shapes"):
        load(path)


def test_committed_entries_need_no_mask_along_k() -> None:
    assert [entry for entry in load() if ALIGNMENT % entry.config.block_k] == []


def test_every_entry_is_compiled_with_the_other_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that test_aot.py holds the table to no spills."""
    monkeypatch.setattr(tuned, "load", lambda: TABLE)
    monkeypatch.setattr(aot, "compile_one", lambda *what: what)
    compiled = list(aot.compile_all())
    assert compiled[-3:] == [(90, "bf16", 14, SMALL), (90, "bf16", 14, LARGE), (80, "bf16", 14, LARGE)]
