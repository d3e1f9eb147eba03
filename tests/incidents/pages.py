"""Runbooks as whoever is on call reads them: the queries of a page, and what they come to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MOST_ROWS = 6
"""Of an answer; the largest are shown."""

Samples = Sequence[Mapping[str, Any]]


def queries(page: str) -> list[str]:
    """The PromQL of a page such as docs/runbooks/PatchbayDown.md, one expression a line."""
    text = (ROOT / page).read_text()
    return [line for block in re.findall(r"```promql\n(.*?)```", text, re.S) for line in block.splitlines()]


def answers(page: str, ask: Callable[[str], Samples]) -> list[str]:
    """Each query with its answer, in lines for reading."""
    lines = []
    for query in queries(page):
        found = [(_labels(sample["metric"]), float(sample["value"][1])) for sample in ask(query)]
        shown = sorted((row for row in found if row[1] == row[1]), key=lambda row: -row[1])[:MOST_ROWS]
        told = ", ".join(f"{labels} {value:.4g}".strip() for labels, value in shown)
        lines.append(f"{query}  =>  {told or 'nothing'}")
    return lines


def _labels(metric: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in metric.items() if name not in ("__name__", "job"))
