"""The queries of the committed dashboards, prepared for Prometheus itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = re.compile(r"\$(?:namespace|release|instance)\b")
BOARDS = Path(__file__).parent.parent / "patchbay" / "files" / "dashboards"


@dataclass(frozen=True, slots=True)
class Target:
    board: str
    panel: str
    expr: str
    """As written in the dashboard."""

    def over(self, window: str) -> str:
        """For every instance, with rates over `window`."""
        return ready(self.expr, window)


def ready(expr: str, window: str) -> str:
    """A dashboard's query for every instance, with rates over `window`."""
    return VARIABLE.sub(".*", expr.replace("$__rate_interval", window))


def boards() -> dict[str, Any]:
    return {file.stem: json.loads(file.read_text()) for file in sorted(BOARDS.glob("*.json"))}


def panels(board: Any) -> Iterator[tuple[str, Any]]:
    """(row title, panel), from top to bottom."""
    row = ""
    for panel in board["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            yield row, panel


def targets() -> list[Target]:
    """Every query of every dashboard."""
    return [
        Target(name, panel["title"], target["expr"])
        for name, board in boards().items()
        for _, panel in panels(board)
        for target in panel["targets"]
    ]
