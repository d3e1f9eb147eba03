"""What a failed test tells of the servers that it used; no server is started here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import servers_among
from tests.e2e.server import Server

LOG = """\
[patchbay   0s] starting vLLM
2026-11-28 00:07:51,115 INFO service.engine.supervisor: the engine is ready after 15 s
2026-11-28 00:07:52,115 WARNING service.engine.child: engine: no memory
2026-11-28 00:07:53,115 ERROR service.engine.supervisor: the engine was killed by signal 9
"""


@pytest.fixture
def server(tmp_path: Path) -> Server:
    log = tmp_path / "log"
    log.write_text(LOG)
    with subprocess.Popen(["true"]) as process:
        return Server(process, "", "", log)


def test_warnings_are_the_lines_above_info(server: Server) -> None:
    assert server.warnings().splitlines() == LOG.splitlines()[2:]
    assert server.warnings(1).splitlines() == LOG.splitlines()[3:]


def test_servers_are_found_in_tuples_too(server: Server) -> None:
    assert list(servers_among([1, server, ("x", (server,))])) == [server, server]
