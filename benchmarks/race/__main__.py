"""Patchbay against vLLM as it starts by itself and as an expert would start it: one model, one scenario, in turns.

    python -m benchmarks.race --shape tiles-vit-b-16 --rounds 3 --rate 1.2 --out rows.csv

Checkpoints have real shapes and random weights (`--folder` keeps them). Each turn starts one server on the same cores
and runs the scenarios in closed loops: a client asks, reads its answer to the end, asks again. `--rate` adds an open
loop, whose requests are sent when they are due. Every image of a scenario is new to the server unless the scenario
repeats it, and every server gets the same. Prints medians over the rounds with their spread. Exit status 1, and no
table, when Patchbay left a request unanswered or gave other than all its tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import torch

from benchmarks.processes import serving
from benchmarks.race.checkpoints import SHAPES, checkpoint
from benchmarks.race.clients import Answer, Heard, listen, offer
from benchmarks.race.scenarios import SCENARIOS, draw, open_loop
from benchmarks.race.table import OURS, Turn, table
from benchmarks.servers import Server, patchbay, vllm_by_an_expert, vllm_by_default
from kernels.report import describe_machine

WARM_UP = "unique, 4 clients"
WARM_UP_SEED = 999
COMPILED = ("--engine-compile", "on")
SEED = 1


def servers(model: str, options: argparse.Namespace) -> list[Server]:
    cores = sorted(os.sched_getaffinity(0))
    made = [patchbay(model, (), options.settings), vllm_by_an_expert(model, cores), vllm_by_default(model)]
    return [server for server in made if server.name == OURS or server.name in options.peer]


def turn(server: Server, options: argparse.Namespace, pictures: dict[str, list[str]]) -> dict[str, Heard]:
    """All scenarios on one fresh server, after a warm-up with images of its own."""
    heard = {}
    with serving(server.argv, server.environment, options.logs / f"race, {server.name}.log", server.ready):
        for scenario in (SCENARIOS[WARM_UP], *options.scenarios):
            name, warm = scenario.name, scenario.name == WARM_UP and not heard
            urls = pictures["warm-up" if warm else name].__getitem__
            scripts = scenario.scripts(scenario.clients, urls)
            if scenario.due is None:
                found = asyncio.run(listen(server.url, scripts, options.seconds, options.tokens))
            else:
                found = asyncio.run(offer(server.url, scripts[0], scenario.due, options.tokens))
            heard["warm-up" if warm else name] = found
            print(f"{server.name}, {name}: {found.rate:.2f}/s, {found.faults[:1]}", file=sys.stderr)
    del heard["warm-up"]
    return heard


def equal(one: dict[tuple[int, int], Answer], other: dict[tuple[int, int], Answer]) -> float:
    """Of the requests that both answered, the share with the same text."""
    both = one.keys() & other.keys()
    return sum(one[key].text == other[key].text for key in both) / len(both) if both else 0.0


def write(turns: Sequence[Turn], path: Path) -> None:
    """As CSV, each row with the machine and the versions that it was measured with."""
    machine = asdict(describe_machine(torch.device("cpu")))
    where = {name: machine[name] for name in ("device", "torch", "commit")} | {"cores": os.cpu_count()}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*(f.name for f in fields(Turn)), *where], lineterminator="\n")
        writer.writeheader()
        for each in turns:
            row = {name: round(v, 3) if isinstance(v, float) else v for name, v in asdict(each).items()}
            writer.writerow(row | where)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    temporary = Path(tempfile.gettempdir())
    parser.add_argument("--shape", choices=SHAPES, default="tiles-vit-b-16", help="default %(default)s")
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="may be repeated; default: all of them"
    )
    parser.add_argument(
        "--rate",
        action="append",
        type=float,
        help="of an open loop, requests/s; may be repeated; default: none",
    )
    peers = ("vllm, tuned", "vllm, default")
    parser.add_argument("--peer", action="append", choices=peers, help="may be repeated; default: both")
    parser.add_argument(
        "--settings",
        type=shlex.split,
        default=COMPILED,
        help=f"Patchbay's, as its command line takes them (default {' '.join(COMPILED)!r}, as the peers compile)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of each scenario (default %(default)s)")
    parser.add_argument("--tokens", type=int, default=16, help="of each answer (default %(default)s)")
    parser.add_argument("--folder", type=Path, default=temporary / "race", help="default %(default)s")
    parser.add_argument("--logs", type=Path, default=temporary, help="of the servers (default %(default)s)")
    parser.add_argument("--out", type=Path, help="gets a row for each turn and scenario, as CSV")
    options = parser.parse_args()
    closed = [SCENARIOS[name] for name in options.scenario or SCENARIOS]
    options.scenarios = [*closed, *(open_loop(rate, options.seconds, SEED) for rate in options.rate or ())]
    options.peer = options.peer or list(peers)
    return options


def main() -> int:
    options = arguments()
    model = str(checkpoint(options.shape, options.folder))
    cores = len(os.sched_getaffinity(0))
    pictures = {each.name: draw(each, SEED + at, cores) for at, each in enumerate(options.scenarios)}
    pictures["warm-up"] = draw(SCENARIOS[WARM_UP], WARM_UP_SEED, cores)
    turns: list[Turn] = []
    for number in range(1, options.rounds + 1):
        # who begins changes from round to round
        order = servers(model, options)[:: 1 if number % 2 else -1]
        heard = {server.name: turn(server, options, pictures) for server in order}
        if faults := [fault for found in heard[OURS].values() for fault in found.faults]:
            print("\n".join(faults), file=sys.stderr)
            return 1
        for name in (scenario.name for scenario in options.scenarios):
            for server, found in ((server, heard[server][name]) for server in sorted(heard)):
                same = equal(found.answers, heard[OURS][name].answers)
                figures = (len(found.answers), found.rate, found.quantile(0.5), found.quantile(0.99), same)
                turns.append(Turn(options.shape, name, server, number, *figures))
    print(table(turns))
    if options.out:
        write(turns, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
