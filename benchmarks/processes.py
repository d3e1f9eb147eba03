"""Servers as child processes on loopback: started, waited for until they are ready, and stopped."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 600
END_SECONDS = 60
_PORTS = range(10_000, 32_768)


def free_port() -> int:
    """A port on loopback that nobody uses.

    From below Linux's default range for outgoing connections and for port 0, so that nobody is given it by chance
    before its server listens.
    """
    while True:
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def is_ready(url: str) -> bool:
    """Whether it answers a GET with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = START_SECONDS) -> None:
    """Until `url` answers 200. Raises RuntimeError, with the log's end, when the process ends or time is up."""
    deadline = time.monotonic() + seconds
    while not is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} is not ready:\n{log.read_text()[-4000:]}")
        # nothing tells when a port is bound, and asking without pause slows the start
        time.sleep(0.2)


@contextmanager
def serving(
    argv: Sequence[str], environment: Mapping[str, str], log: Path, ready: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server whose URL `ready` answers; ended by a SIGTERM. Raises RuntimeError as `wait_ready` does."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            argv, stdout=stream, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        wait_ready(ready, process, log)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
