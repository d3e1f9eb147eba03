from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from benchmarks.processes import free_port
from tests.deploy.images import ROOT

SCRIPT = ROOT / "deploy" / "healthcheck.py"


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/livez": 200, "/readyz": 503}.get(self.path, 404))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the tests' output."""


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def run(port: int, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATCHBAY_PORT": str(port), **variables}
    return subprocess.run(
        [sys.executable, "-S", SCRIPT, *arguments], env=environment, capture_output=True, text=True
    )


def test_life_is_asked_for_by_default(port: int) -> None:
    assert (run(port).returncode, run(port).stdout) == (0, "/livez: 200\n")


def test_whoever_is_not_ready_is_not_healthy(port: int) -> None:
    result = run(port, "/readyz")
    assert (result.returncode, result.stdout) == (1, "/readyz: 503\n")


def test_all_addresses_are_asked_on_loopback_and_past_any_proxy(port: int) -> None:
    assert run(port, PATCHBAY_HOST="0.0.0.0", http_proxy="http://127.0.0.1:1").returncode == 0


def test_where_nobody_listens_nobody_is_healthy() -> None:
    result = run(free_port())
    assert result.returncode == 1 and "ConnectionRefusedError" in result.stdout
