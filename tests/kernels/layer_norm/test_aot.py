"""The kernel compiled for GPUs that are not here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest


@pytest.fixture(scope="module")
def compiled() -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "kernels.layer_norm.aot", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [row | row.pop("cost") for row in json.loads(done.stdout)]


def test_nothing_spills(compiled: list[dict[str, Any]]) -> None:
    assert [row for row in compiled if row["spill_bytes"] or not 0 < row["registers"] <= 255] == []


def test_every_architecture_and_width_is_compiled(compiled: list[dict[str, Any]]) -> None:
    bf16 = {(row["architecture"], row["width"]) for row in compiled if row["dtype"] == "bf16"}
    assert bf16 == {
        (architecture, width) for architecture in (80, 90, 100) for width in (768, 1024, 1280, 1664)
    }
