"""What a benchmark reports: one row schema for all kernels, with the columns without which a time means nothing.

`measure.py` takes the times, `publish.py` prints and writes the rows.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True)
class Machine:
    device: str
    driver: str
    threads: int
    load: float
    """The machine's load average at the start; near `threads` or above, others were at work too."""
    torch: str
    triton: str
    commit: str


@dataclass(frozen=True, slots=True)
class Row:
    kernel: str
    provider: str
    mode: str
    """eager: the host's clock from the call to its result. graph: device time of a CUDA graph's replay.
    processor: CPU time of all threads, which a crowded machine disturbs least (best read with one thread)."""
    shape: str
    batch: int
    dtype: str
    p20_us: float
    p50_us: float
    p80_us: float
    p99_us: float
    gbytes_per_s: float
    """Bytes that must move at least once, per median."""
    tflops: float
    """Floating point operations that must be done, per median."""
    fraction_of_floor: float
    """Median of the floor (the bare matrix product, in the same run) over this median."""
    error: float | None
    """‖result − exact‖ / ‖exact‖ against fp64; None for the floor, which computes something else."""
    machine: Machine

    def flat(self) -> dict[str, object]:
        row = asdict(self)
        row |= row.pop("machine")
        return {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in row.items()}


@dataclass(frozen=True, slots=True)
class Report:
    """Of one case: rows only for what passed its gate, a sentence for what did not."""

    rows: list[Row]
    failures: list[str]
    notes: list[str] = field(default_factory=list)
    """Sentences about the rows, for people."""


def describe_machine(device: torch.device, commit: str = "") -> Machine:
    """The columns without which a time means nothing. `commit`: by default the checkout's, where there is one."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0]
    else:
        name, driver = _cpu_name(), ""
    try:
        import triton

        triton_version = str(triton.__version__)
    except ImportError:
        triton_version = ""
    load = round(os.getloadavg()[0], 1)
    return Machine(
        name,
        driver,
        torch.get_num_threads(),
        load,
        torch.__version__,
        triton_version,
        commit or commit_here(),
    )


COLUMNS = {
    "kernel": 18,
    "shape": 22,
    "batch": 5,
    "dtype": 5,
    "mode": 9,
    "provider": 16,
    "p20 µs": 10,
    "p50 µs": 10,
    "p80 µs": 10,
    "GB/s": 8,
    "TFLOP/s": 8,
    "of floor": 8,
    "error": 8,
}
"""For people, with widths known beforehand, so that a row can be printed before the next is measured."""


def heading() -> str:
    return _line(COLUMNS)


def lines(rows: Iterable[Row]) -> list[str]:
    """One per row, under `heading()`."""
    printed: list[str] = []
    for r in rows:
        times = (f"{us:.1f}" for us in (r.p20_us, r.p50_us, r.p80_us))
        error = "" if r.error is None else f"{r.error:.2e}"
        rates = f"{r.gbytes_per_s:.1f}", f"{r.tflops:.3f}", f"{r.fraction_of_floor:.2f}", error
        printed.append(_line((r.kernel, r.shape, str(r.batch), r.dtype, r.mode, r.provider, *times, *rates)))
    return printed


def _line(cells: Iterable[str]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, COLUMNS.values(), strict=True))
    return "  ".join(padded).rstrip()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "cpu"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "cpu")


def commit_here() -> str:
    """Of the checkout, marked when the kernels differ from it; other folders do not matter to a time. Empty for a copy
    without its history."""
    git = ("git", "-C", str(Path(__file__).parent))
    changed = _output(*git, "status", "--porcelain", "--", ".")
    commit = _output(*git, "rev-parse", "--short=10", "HEAD")
    return commit + "-dirty" if commit and changed else commit


def _output(*command: str) -> str:
    """What a command prints, or nothing where there is no such command (or no checkout)."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
