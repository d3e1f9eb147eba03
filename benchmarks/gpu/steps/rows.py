"""Rows that a step writes as it makes them: one JSON object a line, each with the machine and what was measured."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

FACTS = "BENCHMARK_FACTS"
"""The variable in which `python -m benchmarks.gpu` hands its facts to the steps, as JSON."""
NAMED = ("gpu", "driver", "torch", "triton", "vllm", "commit")
"""Of the facts, those in every row."""


def add(path: Path, **row: object) -> None:
    """The row is printed, and in the file when this returns."""
    rounded = {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in row.items()}
    line = json.dumps(rounded | named(os.environ))
    print(line, flush=True)
    with path.open("a") as file:
        file.write(line + "\n")


def named(environment: Mapping[str, str]) -> dict[str, object]:
    """None where a step is run by itself."""
    facts = json.loads(environment.get(FACTS, "{}"))
    return {name: facts[name] for name in NAMED if name in facts}
