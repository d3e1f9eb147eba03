"""CPU time of a session's computing processes, from a /proc made by hand and from the real one."""

from __future__ import annotations

import os
from pathlib import Path

from service.engine.cpu_time import TICKS, cpu_seconds


def process(proc: Path, pid: int, name: str, session: int, user: int, system: int) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    fields = ["S", "1", str(pid), str(session), *["0"] * 7, str(user), str(system), "9", "9"]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")


def test_only_computing_processes_of_the_session_count(tmp_path: Path) -> None:
    process(tmp_path, 10, "VLLM::EngineCor", 5, 3 * TICKS, TICKS)
    process(tmp_path, 11, "VLLM::Worker) 1", 5, TICKS, 0)
    process(tmp_path, 12, "python", 5, 100 * TICKS, 0)
    process(tmp_path, 13, "VLLM::EngineCor", 6, 100 * TICKS, 0)
    (tmp_path / "14").mkdir()
    (tmp_path / "meminfo").write_text("")
    assert cpu_seconds(5, proc=tmp_path) == 5.0


def test_no_session_has_used_nothing() -> None:
    assert cpu_seconds(None) == 0.0
    assert cpu_seconds(os.getsid(0)) == 0.0
