"""What does the gateway itself cost: for a text request, and for each event that is streamed?

    python -m benchmarks.gateway
    git worktree add /tmp/before HEAD~5 && python -m benchmarks.gateway --tree /tmp/before --tree .

Starts the gateway of each source tree in front of a stand-in for the engine, which sends vLLM's events as fast as they
are read, and asks both in turns. Measured is the processor time of the gateway's main process, all its threads, as the
kernel accounts for it. That does not depend on what else the machine does, unlike any time of day. Answers of two
lengths give the cost of a request and, as the slope between them, of one more event. Nothing is reported, and the exit
status is 1, where an answer is not what the engine said, or the gateway counts other requests than were asked.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.clients import Heard, Load, run
from benchmarks.gateway.engine import Engine
from benchmarks.processes import free_port, serving
from benchmarks.servers import PATCHBAY
from service.settings import EMBEDDED_MODEL

SHORT, LONG = Load("short", 40, 4), Load("long", 8, 132)
LOADS = (Load("whole", 40, 4, stream=False), SHORT, LONG)
WARM_UP = Load("warm-up", 5, 16)
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
    before = gateway.cpu_seconds()
    heard = await run(gateway.url, SERVED, engine, load, clients, turn)
    spent = gateway.cpu_seconds() - before
    return Cost(1000 * spent / heard.answers, heard.events / heard.writes if heard.writes else 0.0), heard


async def compare(
    trees: Sequence[Path], engine: Engine, options: argparse.Namespace
) -> dict[str, list[dict[str, Cost]]]:
    """Costs by tree, then by round and load. Raises RuntimeError where an answer is wrong or not counted."""
    found: dict[str, list[dict[str, Cost]]] = defaultdict(list)
    with ExitStack() as servers:
        gateways = [
            await asyncio.to_thread(servers.enter_context, starting)
            for starting in (_start(tree, engine, options.logs) for tree in trees)
        ]
        for number in range(options.rounds + 1):
            # who begins changes from round to round
            for gateway in gateways[:: -1 if number % 2 else 1]:
                costs: dict[str, Cost] = {}
                for load in LOADS if number else (WARM_UP,):
                    before, turn = await asyncio.to_thread(gateway.answered), f"{number}{load.name}"
                    costs[load.name], heard = await measure(gateway, engine, load, options.clients, turn)
                    counted = await asyncio.to_thread(gateway.answered) - before
                    if heard.faults or counted != heard.answers:
                        missed = f"{heard.answers} answers, of which the gateway counted {counted}"
                        raise RuntimeError("\n".join([missed, *heard.faults[:5]]))
                if number:
                    found[gateway.tree].append(costs)
    return found


@contextmanager
def _start(tree: Path, engine: Engine, logs: Path) -> Iterator[Gateway]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    # images passed through: no vision encoder is needed for text
    argv = (*PATCHBAY, "serve", EMBEDDED_MODEL, "--served-model-name", SERVED, "--port", str(port))
    further = ("--images", "passthrough", "--engine-url", engine.url)
    tree = tree.resolve()
    source = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    log = logs / f"gateway, {tree.name}.log"
    with serving((*argv, *further), os.environ | source, log, f"{url}/readyz") as process:
        yield Gateway(tree.name, url, process.pid)


def table(found: Mapping[str, Sequence[Mapping[str, Cost]]]) -> str:
    """Medians over the rounds, with the least and the greatest."""
    rows = [
        "| tree | request, whole, ms | request, streamed, ms | further event, µs | events to a write |",
        "|---|---|---|---|---|",
    ]
    for tree, rounds in found.items():
        whole = [costs["whole"].request for costs in rounds]
        short = [costs[SHORT.name].request for costs in rounds]
        slope = [
            1000 * (costs[LONG.name].request - costs[SHORT.name].request) / (LONG.tokens - SHORT.tokens)
            for costs in rounds
        ]
        together = [costs[LONG.name].together for costs in rounds]
        cells = (_spread(whole, 2), _spread(short, 2), _spread(slope, 0), _spread(together, 2))
        rows.append(f"| {tree} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _spread(values: Sequence[float], digits: int) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tree",
        action="append",
        type=Path,
        help="source tree of a gateway; may be repeated; default: this one",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each gateway (default %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="closed loops (default %(default)s)")
    parser.add_argument(
        "--step-ms", type=float, default=5, help="of the engine, between two steps (default %(default)s)"
    )
    temporary = Path(tempfile.gettempdir())
    parser.add_argument("--logs", type=Path, default=temporary, help="of the gateways (default %(default)s)")
    return parser.parse_args()


async def _main(options: argparse.Namespace) -> int:
    async with Engine(options.step_ms / 1000) as engine:
        try:
            found = await compare(options.tree or [Path()], engine, options)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    print(
        f"{options.clients} clients, {options.rounds} rounds; answers of {SHORT.tokens} and {LONG.tokens} tokens"
    )
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(arguments())))
