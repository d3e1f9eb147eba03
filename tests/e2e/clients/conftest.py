"""The servers that clients meet; and what each client did, as one table, which is written into docs/clients.md where
`CLIENTS_PAGE` says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from pytest import TerminalReporter

from benchmarks.processes import serving
from benchmarks.servers import vllm_alone
from service.settings import EMBEDDED_MODEL
from tests.e2e.clients.known import LACKING
from tests.e2e.clients.record import Record
from tests.e2e.clients.recorder import Recorder, recording
from tests.e2e.clients.table import COLUMNS, PAGE, merged, replaced, rows_of
from tests.e2e.server import Server


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of vLLM's own server with the embedded model."""
    server = vllm_alone(str(EMBEDDED_MODEL), (), threads=1, kv_cache_bytes=1 << 28)
    log = tmp_path_factory.mktemp("vllm") / "log"
    with serving(server.argv, server.environment, log, server.ready):
        yield server.url


@pytest.fixture(scope="session")
def recorder(patchbay: Server) -> Iterator[tuple[str, Recorder]]:
    with recording(patchbay.url) as recorded:
        yield recorded


@pytest.fixture
def record(
    patchbay: Server,
    alone: str,
    recorder: tuple[str, Recorder],
    record_property: Callable[[str, object], None],
) -> Record:
    """What one client does, which ends up in the table."""
    return Record(patchbay, alone, *recorder, record_property)


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
        page = PAGE.read_text()
        done = [row[1:-1] for row in rows if row[0] == "passed"]
        PAGE.write_text(replaced(page, merged(rows_of(page), done, LACKING)))
        for row in rows:
            if row[0] != "passed":
                terminalreporter.line(f"{PAGE.name} keeps what it has of {row[1]}, {row[3]}")
