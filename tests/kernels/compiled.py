"""What the compiling modules print, read in a process where Triton compiles: the tests' own interprets."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def rows(module: str, shared: Path) -> list[dict[str, Any]]:
    """Each row with its cost's fields beside its own. Compiled once for all processes that share the folder."""
    kept = shared / f"{module}.json"
    with (shared / f"{module}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(compiled(module))
    return [row | row.pop("cost") for row in json.loads(kept.read_text())]


def compiled(module: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", module, "--json"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def spilling(compiled: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows whose registers do not suffice."""
    return [row for row in compiled if row["spill_bytes"] or not 0 < row["registers"] <= 255]


def oversized(compiled: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of which a multiprocessor does not hold one program.

    It has 65536 registers, and at least 99 KB of shared memory on the GPUs that take these entries (sm_86, 89 and 120).
    """
    return [
        row
        for row in compiled
        if row["registers"] * 32 * row["config"]["warps"] > 65536 or row["shared_bytes"] > 99 * 1024
    ]
