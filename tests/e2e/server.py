"""The whole service as its users start it: `patchbay serve` in a process of its own, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 600
PATCHBAY = (sys.executable, "-c", "from service.cli import main; raise SystemExit(main())")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running Patchbay."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, engine_url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.engine_url = engine_url
        self.log = log

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            assert self.process.poll() is None, f"patchbay ended:\n{self.log.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"patchbay is not ready:\n{self.log.read_text()[-4000:]}"
            time.sleep(0.2)  # nothing tells when a port is bound, and asking without pause slows the start

    def metric(self, name: str) -> float:
        """The value of one of Patchbay's metrics, summed over its labels."""
        return _sum(httpx.get(f"{self.url}/metrics").text, name)

    def engine_metric(self, name: str) -> float:
        """The same of vLLM's own."""
        return _sum(httpx.get(f"{self.engine_url}/metrics").text, name)

    def engine_processes(self) -> list[int]:
        """Ids of vLLM's processes."""
        listed = subprocess.run(
            ["pgrep", "-f", f"api_server.*--port {self.engine_url.rpartition(':')[2]}"],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(line) for line in listed.stdout.split()]


def environment() -> dict[str, str]:
    """Without settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PATCHBAY_")}


@contextmanager
def serving(
    log: Path, *flags: str, port: int | None = None, engine_url: str | None = None
) -> Iterator[Server]:
    """`patchbay serve` with `flags`, ready; ended by a SIGTERM. It starts its engine unless `engine_url` names one."""
    port = port or free_port()
    if engine_url is None:
        engine_port = free_port()
        engine_url = f"http://127.0.0.1:{engine_port}"
        engine = ("--engine-port", str(engine_port))
    else:
        engine = ("--engine-url", engine_url)
    command = [*PATCHBAY, "serve", "--port", str(port), *engine, *flags]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environment(), start_new_session=True
        )
    server = Server(process, f"http://127.0.0.1:{port}", engine_url, log)
    try:
        server.wait_ready()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _sum(text: str, name: str) -> float:
    lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def chat_body(
    *parts: dict[str, Any], question: str = "What colour is the star?", **fields: Any
) -> dict[str, Any]:
    """A greedy request about images."""
    content = [*parts, {"type": "text", "text": question}]
    return {
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": 32,
        **fields,
    }
