"""Shows what each client got, as one table."""

from __future__ import annotations

from pytest import TerminalReporter

COLUMNS = ("client", "version", "asked", "answer")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    rows = [
        (outcome, *(str(dict(report.user_properties).get(name, "")) for name in COLUMNS))
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        if report.when == "call" and dict(report.user_properties).keys() >= {"client", "asked"}
    ]
    if not rows:
        return
    table = [("", *COLUMNS), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    terminalreporter.section("clients")
    for row in table:
        terminalreporter.line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
