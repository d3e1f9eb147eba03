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
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.gateway.clients import Load
from benchmarks.gateway.engine import Engine
from benchmarks.gateway.gateways import Cost, measure, spread, started

SHORT, LONG = Load("short", 40, 4), Load("long", 8, 132)
LOADS = (Load("whole", 40, 4, stream=False), SHORT, LONG)
WARM_UP = Load("warm-up", 5, 16)


async def compare(
    trees: Sequence[Path], engine: Engine, options: argparse.Namespace
) -> dict[str, list[dict[str, Cost]]]:
    """Costs by tree, then by round and load. Raises RuntimeError where an answer is wrong or not counted."""
    found: dict[str, list[dict[str, Cost]]] = defaultdict(list)
    with ExitStack() as servers:
        gateways = [
            await asyncio.to_thread(servers.enter_context, starting)
            for starting in (started(tree, engine, options.logs) for tree in trees)
        ]
        for number in range(options.rounds + 1):
            # who begins changes from round to round
            for gateway in gateways[:: -1 if number % 2 else 1]:
                costs: dict[str, Cost] = {}
                for load in LOADS if number else (WARM_UP,):
                    turn = f"{number}{load.name}"
                    costs[load.name], _ = await measure(gateway, engine, load, options.clients, turn)
                if number:
                    found[gateway.tree].append(costs)
    return found


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
        cells = (spread(whole, 2), spread(short, 2), spread(slope, 0), spread(together, 2))
        rows.append(f"| {tree} | {' | '.join(cells)} |")
    return "\n".join(rows)


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
