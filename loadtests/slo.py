"""Service-level objectives, and whether a window of figures meets them."""

from __future__ import annotations

from dataclasses import dataclass

from loadtests.figures import ENDS, FAILED, FIRST_TOKEN, INTER_TOKEN, LATE, REFUSED, RIGHT, TOTAL, WRONG, Cell


@dataclass(frozen=True, slots=True)
class Objectives:
    """Limits; None is no limit. Times in milliseconds, shares of 1."""

    first_token_p95: float | None = 1000.0
    inter_token_p95: float | None = None
    total_p95: float | None = None
    errors: float = 0.0
    refused: float = 0.0
    right: float = 0.99
    late_p99: float | None = 250.0


@dataclass(frozen=True, slots=True)
class Line:
    """One objective: what was measured, what is allowed, and whether it was met. `value` None: nothing to measure."""

    name: str
    value: float | None
    limit: float
    at_least: bool
    met: bool


def judge(cell: Cell, objectives: Objectives) -> list[Line]:
    """One line for each limit, the most asked for first."""
    lines = [
        _most("first token p95, ms", cell.quantile(FIRST_TOKEN, 0.95), objectives.first_token_p95),
        _most("inter-token p95, ms", cell.quantile(INTER_TOKEN, 0.95), objectives.inter_token_p95),
        _most("whole answer p95, ms", cell.quantile(TOTAL, 0.95), objectives.total_p95),
        _most("errors, share", cell.share(FAILED, ENDS), objectives.errors),
        _most("refused, share", cell.share(REFUSED, ENDS), objectives.refused),
        _least("right answers, share", cell.share(RIGHT, (RIGHT, WRONG)), objectives.right),
        _most("generator late p99, ms", cell.quantile(LATE, 0.99), objectives.late_p99),
    ]
    return [line for line in lines if line is not None]


def all_met(lines: list[Line]) -> bool:
    return all(line.met for line in lines)


def _most(name: str, value: float | None, limit: float | None) -> Line | None:
    if limit is None:
        return None
    # an objective without measurements is met, unless an answer never came
    return Line(name, value, limit, False, value is None or value <= limit)


def _least(name: str, value: float | None, limit: float) -> Line:
    # a load test without a single answer that could be right has not passed
    return Line(name, value, limit, True, value is not None and value >= limit)
