"""What do the Responses and the Messages API cost the gateway beside chat completions, over HTTP?

    python -m benchmarks.gateway.dialects

One gateway in front of the stand-in for the engine is asked the same questions in each API, in turns: processor time
of its main process for a streamed request and for each further event, under several clients; and, with one client,
the time to the first token, in which the engine's step is included. Nothing is reported, and the exit status is 1,
where an answer is not what the engine said, or the gateway counts other requests than were asked.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.gateway.clients import Load
from benchmarks.gateway.engine import Engine
from benchmarks.gateway.gateways import Gateway, measure, spread, started
from benchmarks.gateway.wires import WIRES

SHORT, LONG, ALONE = Load("short", 40, 4), Load("long", 8, 132), Load("alone", 60, 4)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one API in one round."""

    request: float
    """Milliseconds of processor time of a streamed answer of `SHORT.tokens`."""
    event: float
    """Microseconds of processor time of one further event."""
    first: float
    """Median milliseconds to the first token."""


async def cost(gateway: Gateway, engine: Engine, api: str, clients: int, turn: str) -> Cost:
    """Raises RuntimeError as `measure` does."""
    short, _ = await measure(gateway, engine, replace(SHORT, api=api), clients, f"{turn}short")
    long, _ = await measure(gateway, engine, replace(LONG, api=api), clients, f"{turn}long")
    _, alone = await measure(gateway, engine, replace(ALONE, api=api), 1, f"{turn}alone")
    slope = (long.request - short.request) / (LONG.tokens - SHORT.tokens)
    return Cost(short.request, 1000 * slope, 1000 * statistics.median(alone.firsts))


async def compare(gateway: Gateway, engine: Engine, rounds: int, clients: int) -> dict[str, list[Cost]]:
    """Costs by API, of each round but the first, which is a warm-up."""
    found: dict[str, list[Cost]] = defaultdict(list)
    for number in range(rounds + 1):
        for api in list(WIRES)[:: -1 if number % 2 else 1]:
            measured = await cost(gateway, engine, api, clients, f"{number}{api}")
            if number:
                found[api].append(measured)
    return found


def table(found: Mapping[str, Sequence[Cost]]) -> str:
    """Medians over the rounds, with the least and the greatest, and their ratios to chat completions."""
    rows = [
        "| API | request, streamed, ms | further event, µs | first token, ms |",
        "|---|---|---|---|",
    ]
    base = _columns(found["chat completions"])
    for api in WIRES:
        cells = [
            f"{spread(values, digits)} × {statistics.median(values) / statistics.median(chat):.2f}"
            for values, chat, digits in zip(_columns(found[api]), base, (2, 0, 2), strict=True)
        ]
        rows.append(f"| {api} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _columns(costs: Sequence[Cost]) -> tuple[list[float], ...]:
    return [each.request for each in costs], [each.event for each in costs], [each.first for each in costs]


async def _main(options: argparse.Namespace) -> int:
    async with Engine(options.step_ms / 1000) as engine:
        starting = started(Path(), engine, Path(tempfile.gettempdir()))
        gateway = await asyncio.to_thread(starting.__enter__)
        try:
            found = await compare(gateway, engine, options.rounds, options.clients)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)
    print(f"{options.clients} clients, {options.rounds} rounds, steps of {options.step_ms} ms")
    print(table(found))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each API (default %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="closed loops (default %(default)s)")
    parser.add_argument(
        "--step-ms", type=float, default=5, help="of the engine, between two steps (default %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(arguments())))
