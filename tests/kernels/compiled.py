"""What the compiling modules print, read in a process where Triton compiles: the tests' own interprets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def rows(module: str) -> list[dict[str, Any]]:
    """Each row with its cost's fields beside its own."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", module, "--json"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [row | row.pop("cost") for row in json.loads(done.stdout)]
