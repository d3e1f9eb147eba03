"""The whole service as its users start it: `patchbay serve` in a process of its own, on loopback."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks import processes
from benchmarks.processes import free_port, is_ready, wait_ready
from benchmarks.servers import PATCHBAY

CORE = "VLLM::EngineCor"
"""The kernel cuts names off at 15 characters."""
KV_CACHE = ("--kv-cache-memory-bytes", str(1 << 28))
"""Several servers stand at once while tests run side by side, and the plan would give each engine the whole machine."""
WARNING = re.compile(r"\S+ \S+ (WARNING|ERROR|CRITICAL) ")
"""How such a line of Patchbay's log begins, after its date and time."""


class Server:
    """A running Patchbay."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, engine_url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.engine_url = engine_url
        self.log = log

    def ready(self) -> bool:
        return is_ready(f"{self.url}/readyz")

    def wait_ready(self) -> None:
        wait_ready(f"{self.url}/readyz", self.process, self.log)

    def metric(self, name: str) -> float:
        """The value of one of Patchbay's metrics, summed over its labels."""
        return _sum(httpx.get(f"{self.url}/metrics").text, name)

    def engine_metric(self, name: str) -> float:
        """The same of vLLM's own."""
        return _sum(httpx.get(f"{self.engine_url}/metrics").text, name)

    def warnings(self, most: int = 15) -> str:
        """The last lines of its log above INFO."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if WARNING.match(line)]
        return "\n".join(line[:400] for line in lines[-most:])

    def engine_processes(self) -> list[int]:
        """Ids of vLLM's processes."""
        listed = subprocess.run(
            ["pgrep", "-f", f"api_server.*--port {self.engine_url.rpartition(':')[2]}"],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(line) for line in listed.stdout.split()]

    def engine_core(self) -> list[int]:
        """The process in which vLLM's model runs."""
        return [pid for parent in self.engine_processes() for pid in _children(parent) if _name(pid) == CORE]


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def environment() -> dict[str, str]:
    """Without settings of whoever runs the tests, and without the threads that tests side by side are given."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PATCHBAY_") and name != "OMP_NUM_THREADS"
    }


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
        flags = (*flags, *(() if "--" in flags else ("--",)), *KV_CACHE)
    else:
        engine = ("--engine-url", engine_url)
    url = f"http://127.0.0.1:{port}"
    command = [*PATCHBAY, "serve", "--port", str(port), *engine, *flags]
    with processes.serving(command, environment(), log, f"{url}/readyz") as process:
        yield Server(process, url, engine_url, log)


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
