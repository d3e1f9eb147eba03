"""Runs a kernel's GPU tests without a GPU, in a process where Triton interprets from its first import on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def interpreted(tests: Path) -> int:
    """How many tests of the file passed; fails with pytest's output when one did not."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    return int(passed[1])
