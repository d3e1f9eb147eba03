"""The result of a run as one plain object: the same figures for the file, the report and the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from loadtests import figures as f
from loadtests.figures import MEASURES, Cell, Figures
from loadtests.options import Options
from loadtests.plans import Plan, Stage, Steps
from loadtests.slo import Line, all_met, judge

VERSION = 1
"""Of the file's format; incremented when the meaning of a field changes."""


@dataclass(slots=True)
class Run:
    """A finished run; times in seconds since the epoch."""

    options: Options
    url: str
    model: str
    began: float
    ended: float
    processes: int = 1
    server: Mapping[str, float] = field(default_factory=dict)
    levels: Sequence[tuple[float, float]] = ()
    stages: Sequence[Stage] = ()
    lines: Sequence[Line] = ()
    capacity: float | None = None


def lines_of(run: Run, plan: Plan | None, figures: Figures) -> list[Line]:
    """A plan's verdict, or without a plan the objectives over everything but the warm-up; and whether every request
    ended."""
    if plan is None:
        lines = judge(figures.over(run.began + run.options.warm), run.options.objectives)
    else:
        lines = list(plan.verdict(figures))
    left = figures.in_flight
    return [*lines, Line("unfinished requests", left, 0, False, left <= 0)]


def window(run: Run) -> tuple[str, float, float]:
    """The time window whose percentiles are reported first: its name, start and end."""
    judged = [stage for stage in run.stages if stage.lines]
    if run.options.shape == "steps":
        judged = [stage for stage in judged if stage.level == run.capacity and stage.objectives_met]
        name = f"at {run.capacity or 0:.3g} requests/s, the highest rate sustained"
    else:
        name = "all judged stages"
    if judged:
        return name, judged[0].start, judged[-1].end
    return "the whole run", -math.inf, math.inf


def summary(run: Run, figures: Figures) -> dict[str, Any]:
    """Only numbers, text, lists and objects; infinite and unknown values are null."""
    name, start, end = window(run)
    options = asdict(run.options) | {"api_key": bool(run.options.api_key), "mix": dict(run.options.mix)}
    found = {
        "version": VERSION,
        "passed": all_met(list(run.lines)),
        "capacity": run.capacity if run.options.shape == "steps" else None,
        "objectives": [_line(line) for line in run.lines],
        "url": run.url,
        "model": run.model,
        "began": datetime.fromtimestamp(run.began, UTC).isoformat(timespec="seconds"),
        "seconds": run.ended - run.began,
        "generator_processes": run.processes,
        "window": name,
        "figures": cell_summary(figures.over(start, end)),
        "kinds": {kind: cell_summary(figures.over(start, end, kind)) for kind in figures.kinds()},
        "whole_run": cell_summary(figures.over()),
        "stages": [_stage(stage, figures) for stage in run.stages],
        "reasons": [{"reason": words, "count": n} for words, n in figures.over().reasons()[:50]],
        "server": dict(run.server),
        "options": options,
    }
    return dict(plain(found))


def cell_summary(cell: Cell) -> dict[str, Any]:
    """Counts and percentiles of one window."""
    counts = {name: cell.counts[name] for name in (f.STARTED, *f.ENDS, f.TRUE, f.UNTRUE)}
    tokens = {name: cell.counts[name] for name in (f.PROMPT_TOKENS, f.COMPLETION_TOKENS, f.IMAGE_TOKENS)}
    measures = {
        name: {"count": len(cell.values[name])}
        | {f"p{round(100 * q)}": cell.quantile(name, q) for q in (0.5, 0.95, 0.99)}
        for name in MEASURES
    }
    return counts | {"awaiting": cell.awaiting} | tokens | measures


def plain(value: Any) -> Any:
    """The value with null for numbers that JSON cannot represent."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def told(value: float | None, beyond: bool = False) -> str:
    """A measured or allowed figure for people: four significant digits, no exponents. `beyond`: it never arrived."""
    if value is None:
        return "never" if beyond else "not measured"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def words(found: Mapping[str, Any]) -> str:
    """A summary's verdict, for the terminal."""
    lines = ["PASSED" if found["passed"] else "FAILED"]
    for line in found["objectives"]:
        mark = "" if line["held"] else "   <- missed"
        asked = f"{line['direction']} {told(line['limit'])}"
        lines.append(f"  {line['name']:<40}{told(line['value'], line['never']):>14}   {asked}{mark}")
    return "\n".join(lines)


def stage_words(stage: Stage, options: Options, figures: Figures) -> str:
    """One line for the terminal, even before the stage is judged."""
    cell = _over(figures, stage)
    unit = "requests/s" if options.model == "open" else "users"
    slow = cell.quantile(f.FIRST_TOKEN, 0.95)
    verdict = f"; missed: {stage.missed}" if stage.missed else "; objectives met" if stage.lines else ""
    first = f"{told(slow)} ms" if slow is not None and math.isfinite(slow) else told(None, slow == math.inf)
    sent = f"{cell.counts[f.STARTED]:,} sent"
    return f"{stage.name}, {stage.level:.3g} {unit}: {sent}, first token p95 {first}{verdict}"


def answered_per_second(stage: Stage, figures: Figures) -> float:
    """Requests due in the stage that were answered, rightly or wrongly, per second."""
    cell = _over(figures, stage)
    return (cell.counts[f.RIGHT] + cell.counts[f.WRONG]) / max(stage.end - stage.start, 1e-9)


def _stage(stage: Stage, figures: Figures) -> dict[str, Any]:
    return {
        "name": stage.name,
        "level": stage.level,
        "seconds": stage.end - stage.start,
        "answered_per_second": answered_per_second(stage, figures),
        "judged": bool(stage.lines),
        "held": stage.objectives_met,
        "objectives": [_line(line) for line in stage.lines],
        "figures": cell_summary(_over(figures, stage)),
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "value": line.value,
        "never": line.value == math.inf,
        "limit": line.limit,
        "direction": "at least" if line.at_least else "at most",
        "held": line.met,
    }


def _over(figures: Figures, stage: Stage) -> Cell:
    return figures.over(stage.start, stage.end)


def capacity_of(plan: Plan | None) -> float | None:
    return plan.capacity if isinstance(plan, Steps) else None
