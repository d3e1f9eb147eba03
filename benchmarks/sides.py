"""Starts Patchbay, or vLLM's own server alone, for a benchmark that asks both the same, and ends them.

vLLM alone gets the flags that Patchbay would give it for images that it handles itself (`--images passthrough`), and
as many compute threads as are asked for. Knows nothing of what the sides are asked.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from service.engine.launcher import launch
from service.preparation import prepare
from service.settings import load

START_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Side:
    """A server that can be started: its command, and the path that answers 200 when it is ready."""

    name: str
    port: int
    argv: Sequence[str]
    environment: Mapping[str, str]
    ready: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def patchbay(model: str, engine_args: Sequence[str]) -> Side:
    port = free_port()
    program = (sys.executable, "-c", "from service.cli import main; raise SystemExit(main())")
    argv = (*program, "serve", model, "--port", str(port), "--engine-port", str(free_port()))
    return Side(
        "patchbay", port, (*argv, *(("--", *engine_args) if engine_args else ())), os.environ, "/readyz"
    )


def vllm_alone(model: str, engine_args: Sequence[str], threads: int) -> Side:
    """Raises ConfigurationError where Patchbay itself could not start this model."""
    port = free_port()
    asked = {"model": model, "images": "passthrough", "engine_port": port, "engine_args": tuple(engine_args)}
    made = launch(replace(prepare(load(asked)).engine, cpu_threads=threads), os.environ)
    return Side("vllm", port, made.argv, made.environment, "/health")


@contextmanager
def serving(side: Side, log: Path) -> Iterator[None]:
    """The side, ready. Raises RuntimeError, with the end of its log, when it ends before or takes too long."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            side.argv, stdout=stream, stderr=subprocess.STDOUT, env=side.environment, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _ready(side.url + side.ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{side.name} did not start:\n{log.read_text()[-3000:]}")
            # nothing tells when a port is bound
            time.sleep(0.5)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
