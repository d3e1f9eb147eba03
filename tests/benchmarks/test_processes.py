"""Servers that are started for a while are ready when it is said, tell why they are not, and end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.processes import free_port, is_ready, serving

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
SERVER = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"


def test_a_server_is_ready_within_and_gone_afterwards(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    assert not is_ready(url)
    command = [sys.executable, "-c", SERVER.format(port=port)]
    with serving(command, os.environ, tmp_path / "log", url) as process:
        assert is_ready(url) and not is_ready(f"{url}missing")
    assert process.returncode is not None and not is_ready(url)


def test_what_ends_before_it_is_ready_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    url = f"http://127.0.0.1:{free_port()}/"
    with pytest.raises(RuntimeError, match="no such model"), serving(command, {}, tmp_path / "log", url):
        raise AssertionError("it was never ready")


def test_what_does_not_listen_to_a_signal_is_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.processes.END_SECONDS", 0.01)
    port = free_port()
    command = [sys.executable, "-c", DEAF + SERVER.format(port=port)]
    with serving(command, os.environ, tmp_path / "log", f"http://127.0.0.1:{port}/") as process:
        pass
    assert process.returncode == -9
