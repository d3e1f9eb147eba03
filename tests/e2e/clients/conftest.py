"""Shows what each client did, as one table, and writes it into docs/clients.md where `CLIENTS_PAGE` says so."""

from __future__ import annotations

import os

from pytest import TerminalReporter

from tests.e2e.clients.table import COLUMNS, PAGE, replaced, rows_of


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    reports = [
        (outcome, dict(report.user_properties))
        for outcome in ("passed", "failed", "skipped")
        for report in terminalreporter.stats.get(outcome, ())
        if "client" in dict(report.user_properties)
    ]
    if not reports:
        return
    rows = [(outcome, *(str(told.get(name, "")) for name in (*COLUMNS, "note"))) for outcome, told in reports]
    table = [("", *COLUMNS, "note"), *sorted(rows, key=lambda row: row[1:])]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    terminalreporter.section("clients")
    for row in table:
        terminalreporter.line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
    if "CLIENTS_PAGE" in os.environ:
        _write(terminalreporter, [row[1:-1] for row in rows], all(row[0] == "passed" for row in rows))


def _write(reporter: TerminalReporter, rows: list[tuple[str, ...]], passed: bool) -> None:
    """Only what was done by all of those that the page knows."""
    page = PAGE.read_text()
    known = {(row[0], row[2]) for row in rows_of(page)}
    if missing := known - {(row[0], row[2]) for row in rows}:
        reporter.line(f"{PAGE.name} stays as it is: not asked were {sorted(missing)}")
    elif not passed:
        reporter.line(f"{PAGE.name} stays as it is: a client failed or was skipped")
    else:
        PAGE.write_text(replaced(page, rows))
