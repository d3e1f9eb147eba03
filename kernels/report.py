"""What a benchmark reports: one row schema for all kernels, with the columns without which a time means nothing.

`measure.py` takes the times.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
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
    """What a kernel's benchmark returns: rows only for what passed its gate, a sentence for what did not."""

    rows: list[Row]
    failures: list[str]
    notes: list[str] = field(default_factory=list)
    """Sentences about the rows, for people."""


def describe_machine(device: torch.device) -> Machine:
    """The columns without which a time means nothing."""
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
    return Machine(name, driver, torch.get_num_threads(), load, torch.__version__, triton_version, _commit())


def table(rows: Iterable[Row]) -> str:
    """For people: one line per row, columns aligned."""
    head = ("kernel", "shape", "batch", "dtype", "mode", "provider", "p20 µs", "p50 µs", "p80 µs")
    lines: list[tuple[str, ...]] = [(*head, "GB/s", "TFLOP/s", "of floor", "error")]
    for r in rows:
        times = (f"{us:.1f}" for us in (r.p20_us, r.p50_us, r.p80_us))
        error = "" if r.error is None else f"{r.error:.2e}"
        rates = f"{r.gbytes_per_s:.1f}", f"{r.tflops:.3f}", f"{r.fraction_of_floor:.2f}", error
        lines.append((r.kernel, r.shape, str(r.batch), r.dtype, r.mode, r.provider, *times, *rates))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def write(rows: list[Row], path: Path) -> None:
    """Write rows as CSV or JSON, by the ending of `path`, in place of what was there."""
    flat = [row.flat() for row in rows]
    if path.suffix == ".json":
        path.write_text(json.dumps(flat, indent=1) + "\n")
        return
    columns = [f.name for f in fields(Row) if f.name != "machine"] + [f.name for f in fields(Machine)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "cpu"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "cpu")


def _commit() -> str:
    """Of the checkout, marked when the kernels differ from it; other folders do not matter to a time."""
    git = ("git", "-C", str(Path(__file__).parent))
    changed = _output(*git, "status", "--porcelain", "--", ".")
    return _output(*git, "rev-parse", "--short=10", "HEAD") + ("-dirty" if changed else "")


def _output(*command: str) -> str:
    """What a command prints, or nothing where there is no such command (or no checkout)."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
