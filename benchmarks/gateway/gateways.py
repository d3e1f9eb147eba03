"""Gateways in front of the stand-in for the engine: started, and measured while they are asked."""

from __future__ import annotations

import asyncio
import ctypes
import os
import statistics
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.clients import Heard, Load, run
from benchmarks.gateway.engine import Engine
from benchmarks.processes import free_port, serving
from benchmarks.servers import PATCHBAY
from service.settings import EMBEDDED_MODEL

SERVED = "demo/model"
COUNTED = 'patchbay_requests_total{code="200",model="'


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway, by the tree that it comes from."""

    tree: str
    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """Processor time of its main process since it started."""
        clock = ctypes.c_int()
        if error := ctypes.CDLL(None).clock_getcpuclockid(self.pid, ctypes.byref(clock)):
            raise OSError(error, os.strerror(error))
        return time.clock_gettime(clock.value)

    def answered(self) -> int:
        """Requests to the model that it says it has answered with status 200."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        ours = [line for line in lines if line.startswith(COUNTED) and 'model=""' not in line]
        return int(sum(float(line.rpartition(" ")[2]) for line in ours))


@dataclass(frozen=True, slots=True)
class Cost:
    """One load on one gateway: milliseconds of processor time a request, and events to a write."""

    request: float
    together: float


async def measure(
    gateway: Gateway, engine: Engine, load: Load, clients: int, turn: str
) -> tuple[Cost, Heard]:
    """Raises RuntimeError where an answer is wrong, or the gateway counts other requests than were asked."""
    answered, spent = await asyncio.to_thread(gateway.answered), gateway.cpu_seconds()
    heard = await run(gateway.url, SERVED, engine, load, clients, turn)
    spent = gateway.cpu_seconds() - spent
    counted = await asyncio.to_thread(gateway.answered) - answered
    if heard.faults or counted != heard.answers:
        missed = f"{heard.answers} answers, of which the gateway counted {counted}"
        raise RuntimeError("\n".join([missed, *heard.faults[:5]]))
    return Cost(1000 * spent / heard.answers, heard.events / heard.writes if heard.writes else 0.0), heard


@contextmanager
def started(tree: Path, engine: Engine, logs: Path) -> Iterator[Gateway]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    # images passed through: no vision encoder is needed for text
    argv = (*PATCHBAY, "serve", EMBEDDED_MODEL, "--served-model-name", SERVED, "--port", str(port))
    further = ("--images", "passthrough", "--engine-url", engine.url)
    tree = tree.resolve()
    source = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    log = logs / f"gateway, {tree.name}.log"
    with serving((*argv, *further), os.environ | source, log, f"{url}/readyz") as process:
        yield Gateway(tree.name, url, process.pid)


def spread(values: Sequence[float], digits: int) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"
