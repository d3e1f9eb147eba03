import os
from pathlib import Path

from service.planning.machine import _cgroup_cores, _cgroup_memory, inspect


def test_this_machine_has_cores_and_memory(tmp_path: Path) -> None:
    machine = inspect(tmp_path)
    allowed = tuple(sorted(os.sched_getaffinity(0)))
    assert machine.cores
    assert machine.cores == allowed[: len(machine.cores)]
    assert 0 < machine.memory_bytes < 2**60
    assert machine.shared_memory_bytes > 0


def test_a_control_groups_limit_counts_when_there_is_one(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    assert _cgroup_memory(limit) == 2**63
    limit.write_text("max\n")
    assert _cgroup_memory(limit) == 2**63
    limit.write_text("1073741824\n")
    assert _cgroup_memory(limit) == 2**30


def test_a_control_groups_quota_of_time_counts_in_whole_cores(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    assert _cgroup_cores(8, limit) == 8
    for text, cores in (
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        ("350000 100000\n", 3),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
    ):
        limit.write_text(text)
        assert _cgroup_cores(8, limit) == cores
