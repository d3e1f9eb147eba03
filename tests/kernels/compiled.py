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
