"""Shows what each client did, as one table."""

from __future__ import annotations

from pytest import TerminalReporter

from tests.e2e.clients.asking import THINGS

COLUMNS = ("client", "version", "api", *THINGS, "note")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    rows = [
        (outcome, *(str(dict(report.user_properties).get(name, "")) for name in COLUMNS))
        for outcome in ("passed", "failed", "skipped")
        for report in terminalreporter.stats.get(outcome, ())
        if "client" in dict(report.user_properties)
    ]
    if not rows:
        return
    table = [("", *COLUMNS), *sorted(rows, key=lambda row: row[1:])]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    terminalreporter.section("clients")
    for row in table:
        terminalreporter.line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
