"""Steps of their own on the CPU: rows as they are made, and wrong results that are told."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.encoders.models import Model
from benchmarks.gpu.steps import library, memory, once, rows, unpack
from kernels.measure import relative_error
from kernels.towers.towers import DEMO
from service.planning.pinned import block
from service.planning.plan import make_plan
from service.planning.resources import Overrides
from tests.kernels.runner.fakes import Host
from tests.service.planning.test_plan import H200, LLAVA_7B


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_names_the_machine_and_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rows.FACTS, json.dumps({"gpu": "NVIDIA H100", "commit": "abc", "python": "3.12"}))
    rows.add(tmp_path / "rows", share=0.123456, right=True)
    rows.add(tmp_path / "rows", share=1)
    assert read(tmp_path / "rows") == [
        {"share": 0.1235, "right": True, "gpu": "NVIDIA H100", "commit": "abc"},
        {"share": 1, "gpu": "NVIDIA H100", "commit": "abc"},
    ]
    monkeypatch.delenv(rows.FACTS)
    assert rows.named({}) == {}


def test_every_kernel_is_checked_once(tmp_path: Path) -> None:
    written = tmp_path / "once.jsonl"
    assert once.main(["--device", "cpu", "--write", str(written)]) == 0
    checked = read(written)
    assert {row["check"].split()[0] for row in checked} == {"patch_embed", "project", "varlen"}
    assert all(row["right"] and 0 < row["error"] < 0.02 for row in checked)


def test_a_wrong_kernel_is_told_and_the_others_still_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def checks(device: torch.device, backend: str) -> list[once.Check]:
        exact = torch.ones(4, dtype=torch.float64)
        good, bad = (
            once.Check(name, lambda factor=factor: factor * exact, lambda: exact, lambda: 1.01 * exact)  # type: ignore[misc]
            for name, factor in (("good", 1.005), ("bad", 1.02))
        )
        return [bad, good]

    monkeypatch.setattr(once, "checks", checks)
    assert once.main(["--device", "cpu", "--write", str(tmp_path / "rows")]) == 1
    assert [(row["check"], row["right"]) for row in read(tmp_path / "rows")] == [
        ("bad", False),
        ("good", True),
    ]
    assert capsys.readouterr().out.startswith("bad …\n")  # before it runs, so that a crash has a name


def test_memory_is_planned_for_the_tower_that_runs(tmp_path: Path) -> None:
    written = tmp_path / "memory.jsonl"
    assert memory.main(["--device", "cpu", "--write", str(written)]) == 0
    (row,) = read(written)
    assert (row["tower"], row["tiles"], row["rows"]) == (DEMO.name, 2, 32)
    assert row["planned_activations"] > 0


def test_what_is_staged_is_the_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model's, by the plan for a GPU and on a device that does everything at once."""
    model = Model(DEMO, torch.device("cpu"), torch.bfloat16)
    need = dataclasses.replace(LLAVA_7B, tile_patches=65, max_patches=65, vision_hidden=128)
    plan = make_plan(H200, need, Overrides(encoder_batch_patches=8 * 65))
    device = Host()
    runner = memory.staged(model, plan, device)
    pixels = torch.randint(0, 256, (5, 112, 112, 3), dtype=torch.uint8)
    with torch.inference_mode():
        rows = runner.run([pixels]).rows
        exact = model.precise().transformers()(pixels).flatten(0, 1)
    assert (runner.most, runner.graph_sizes) == (2, (1, 2)) and device.captured == 2
    assert relative_error(rows, exact) < 0.02


def test_on_a_gpu_the_plan_is_that_of_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 images of LLaVA-1.5, with a model that has the tower's sizes and none of its weights."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (79 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    model: Any = SimpleNamespace(
        encoder=memory.CLIP, tower=torch.nn.Linear(1, 1), projector=torch.nn.Linear(1, 1), skip=1
    )
    plan = memory.planned(model, torch.device("cuda"))
    assert plan.device == "cuda" and plan.encoder_batch_patches == 64 * 577
    assert plan.pinned_bytes == 3 * block(16 * 3 * 336**2) + 2 * block(64 * 576 * 8192)


def test_a_right_kernel_of_vllm_is_right_and_a_wrong_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def norm(made: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> None:
        made.copy_(torch.nn.functional.rms_norm(hidden, (1024,), weight, eps))

    operators = SimpleNamespace(rms_norm=norm)
    monkeypatch.setattr(torch.ops, "_C", operators)
    assert library.norm_error(torch.device("cpu")) <= library.TOLERANCE
    operators.rms_norm = lambda made, hidden, weight, eps: made[:-1].copy_(hidden[:-1])
    assert library.norm_error(torch.device("cpu")) == float("inf")


def archive_of(path: Path, **files: str) -> Path:
    with tarfile.open(path, "w:xz") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            file.addfile(member, io.BytesIO(content.encode()))
    return path


def test_an_archive_is_unpacked_and_must_bring_vllm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n"
    with_it = archive_of(tmp_path / "with.tar.xz", **{"vllm-0.32.0.dist-info__METADATA": metadata})
    assert unpack.main([str(with_it), str(tmp_path / "new" / "folder")]) == 0
    assert "1 packages" in capsys.readouterr().out
    without = archive_of(tmp_path / "without.tar.xz", readme="nothing")
    assert unpack.main([str(without), str(tmp_path / "other")]) == 1
    assert "vllm none" in capsys.readouterr().out


def test_an_archive_writes_nothing_outside_its_folder(tmp_path: Path) -> None:
    hostile = archive_of(tmp_path / "hostile.tar.xz", **{"..__escaped": "x"})
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack.main([str(hostile), str(tmp_path / "folder")])
    assert not (tmp_path / "escaped").exists()
