"""What this machine has: cores, memory, a GPU."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from service.planning import nvml
from service.planning.visible_gpu import GPU, UnusableGPU, visible_gpus


@dataclass(frozen=True, slots=True)
class Machine:
    cores: tuple[int, ...]
    """CPU numbers that this process may use, limited to the number of cores in the control group's CPU quota."""
    memory_bytes: int
    """The smaller of the machine's memory and the control group's limit."""
    shared_memory_bytes: int
    """Free bytes in the arena's folder."""
    gpu: GPU | None
    """The first that CUDA sees."""
    gpu_fault: str = ""
    """Why no plan can be made with a GPU that is there, and what helps."""
    more_gpus: tuple[GPU, ...] = ()
    """Those after the first, in CUDA's order."""

    @property
    def gpus(self) -> tuple[GPU, ...]:
        return () if self.gpu is None else (self.gpu, *self.more_gpus)


def inspect(arena_dir: Path) -> Machine:
    """Inspects this machine; `arena_dir` is the folder whose free space counts as shared memory.

    Raises FileNotFoundError when `arena_dir` does not exist.
    """
    allowed = sorted(os.sched_getaffinity(0))
    gpus, fault = _gpus()
    return Machine(
        cores=tuple(allowed[: _cgroup_cores(len(allowed))]),
        memory_bytes=min(_physical_memory(), _cgroup_memory()),
        shared_memory_bytes=shutil.disk_usage(arena_dir).free,
        gpu=gpus[0] if gpus else None,
        gpu_fault=fault,
        more_gpus=gpus[1:],
    )


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroup_memory(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    text = limit.read_text().strip() if limit.exists() else "max"
    return int(text) if text.isdigit() else 2**63


def _cgroup_cores(present: int, limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The quota in whole cores, at least one; `present` without a quota."""
    quota, _, period = (limit.read_text() if limit.exists() else "max 100000").strip().partition(" ")
    return min(present, max(1, int(quota) // int(period))) if quota.isdigit() else present


def _gpus() -> tuple[tuple[GPU, ...], str]:
    """The GPUs that this process sees, and what is wrong with them."""
    try:
        return visible_gpus(nvml.load(), os.environ), ""
    except UnusableGPU as unusable:
        return (), str(unusable)
