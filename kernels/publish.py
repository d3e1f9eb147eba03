"""Benchmarks' rows, printed and written as they come: a run that is cut off leaves all that it has measured."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Protocol

from kernels.report import Machine, Report, Row, heading, lines

GREEN, RED, NOTHING, CUT_OFF = range(4)
"""Exit statuses: all was timed; a gate was red, and its case not timed; no case was selected; the limit came first."""


def publish(
    reports: Iterable[Report],
    files: Sequence[Path],
    limit: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Prints each report's rows and notes and writes its rows as soon as it is there; the exit status.

    `reports` are made while they are asked for. `limit`: seconds after which no further one is. What may not be timed
    is named on stderr.
    """
    writers = [writer(path) for path in files]
    status, count, ends = GREEN, 0, None if limit is None else clock() + limit
    waiting = iter(reports)
    while ends is None or clock() < ends:
        report = next(waiting, None)
        if report is None:
            break
        if count == 0:
            print(heading(), flush=True)
        count += 1
        for each in writers:
            each.add(report.rows)
        for line in (*lines(report.rows), *report.notes):
            print(line, flush=True)
        for failure in report.failures:
            print(f"GATE RED, not timed: {failure}", file=sys.stderr, flush=True)
        status = RED if report.failures else status
    else:
        print(f"LIMIT: {limit:.0f} s were over after {count} cases", file=sys.stderr, flush=True)
        return status or CUT_OFF
    if count == 0:
        print("there is no case of that shape and batch for this device", file=sys.stderr)
        return NOTHING
    return status


class Writer(Protocol):
    def add(self, rows: Sequence[Row]) -> None:
        """The rows are in the file when this returns."""
        ...


def writer(path: Path) -> Writer:
    """For CSV or JSON, by the ending of `path`, in place of what was there."""
    return _Json(path) if path.suffix == ".json" else _Csv(path)


class _Csv:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._columns = [f.name for f in fields(Row) if f.name != "machine"] + [
            f.name for f in fields(Machine)
        ]
        with path.open("w", newline="") as file:
            self._to(file).writeheader()

    def add(self, rows: Sequence[Row]) -> None:
        with self._path.open("a", newline="") as file:
            self._to(file).writerows(row.flat() for row in rows)

    def _to(self, file: object) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self._columns, lineterminator="\n")  # type: ignore[arg-type]


class _Json:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, object]] = []
        self.add([])

    def add(self, rows: Sequence[Row]) -> None:
        """An array cannot be appended to, so it is written anew."""
        self._rows += [row.flat() for row in rows]
        self._path.write_text(json.dumps(self._rows, indent=1) + "\n")
