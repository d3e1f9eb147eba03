"""What a race says: medians over its rounds by scenario, and how Patchbay stands to each peer."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

OURS = "patchbay"


@dataclass(frozen=True, slots=True)
class Turn:
    """One scenario in one turn of one server; milliseconds to the first token."""

    shape: str
    scenario: str
    server: str
    round: int
    requests: int
    per_second: float
    p50: float
    p99: float
    equal: float
    """Share of the answers that were Patchbay's in the same round, of those that both gave."""


def table(turns: Sequence[Turn]) -> str:
    """In Markdown: a line for each scenario and server; ratios are Patchbay's over the peer's."""
    lines = [
        "| scenario | server | requests/s | first token p50, ms | p99 | Patchbay's requests/s | p50 | p99 | equal |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for scenario, server in dict.fromkeys((turn.scenario, turn.server) for turn in turns):
        these = [t for t in turns if (t.scenario, t.server) == (scenario, server)]
        ours = [t for t in turns if (t.scenario, t.server) == (scenario, OURS)]
        figures = [_median(these, "per_second", 2), *(_median(these, p) for p in ("p50", "p99"))]
        ratios = ["–"] * 4
        if not any(turn.requests for turn in these):
            figures = ["none finished", "–", "–"]
        elif server != OURS and ours:
            ratios = [_ratio(ours, these, measure) for measure in ("per_second", "p50", "p99")]
            ratios.append(f"{statistics.median(t.equal for t in these):.0%}")
        lines.append(f"| {' | '.join((scenario, server, *figures, *ratios))} |")
    return "\n".join(lines)


def _median(turns: Sequence[Turn], measure: str, digits: int = 0) -> str:
    values = [getattr(turn, measure) for turn in turns]
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def _ratio(ours: Sequence[Turn], theirs: Sequence[Turn], measure: str) -> str:
    mine, other = (statistics.median(getattr(turn, measure) for turn in side) for side in (ours, theirs))
    return f"{mine / other:.2f} ×" if other else "–"
