"""What is promised, and whether a window of figures keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from loadtests.figures import ENDS, FAILED, FIRST_TOKEN, INTER_TOKEN, LATE, REFUSED, RIGHT, TOTAL, WRONG, Cell


@dataclass(frozen=True, slots=True)
class Objectives:
    """Limits; None is not asked for. Times in milliseconds, shares of 1."""

    first_token_p95: float | None = 1000.0
    inter_token_p95: float | None = None
    total_p95: float | None = None
    errors: float = 0.0
    refused: float = 0.0
    right: float = 0.99
    late_p99: float | None = 250.0


@dataclass(frozen=True, slots=True)
class Line:
    """One promise: what was found, what was allowed, and whether that was kept. `value` None: nothing to measure."""

    name: str
    value: float | None
    limit: float
    at_least: bool
    held: bool


def judge(cell: Cell, objectives: Objectives) -> list[Line]:
    """One line for each limit, in the order in which people ask."""
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


def kept(lines: list[Line]) -> bool:
    return all(line.held for line in lines)


def _most(name: str, value: float | None, limit: float | None) -> Line | None:
    if limit is None:
        return None
    # where nothing was measured nothing was broken, but for an answer that never came
    return Line(name, value, limit, False, value is None or value <= limit)


def _least(name: str, value: float | None, limit: float) -> Line:
    # not a single answer that could be right is no load test that was passed
    return Line(name, value, limit, True, value is not None and value >= limit)
