import os
from pathlib import Path

from service.machine import _cgroup_memory, inspect


def test_this_machine_has_cores_and_memory(tmp_path: Path) -> None:
    machine = inspect(tmp_path)
    assert machine.cores == tuple(sorted(os.sched_getaffinity(0)))
    assert 0 < machine.memory_bytes < 2**60
    assert machine.shared_memory_bytes > 0


def test_a_control_groups_limit_counts_when_there_is_one(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    assert _cgroup_memory(limit) == 2**63
    limit.write_text("max\n")
    assert _cgroup_memory(limit) == 2**63
    limit.write_text("1073741824\n")
    assert _cgroup_memory(limit) == 2**30
