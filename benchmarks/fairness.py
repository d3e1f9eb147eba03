"""What does a modest client notice of a greedy one?

    python -m benchmarks.fairness --seconds 300 --over 3

Serves the embedded model with two API keys. Finds what one key gets alone (requests/s, each client waiting for its
answer); then the modest key sends a twentieth of that for a while, alone; then the same beside a greedy key that sends
`--over` times the capacity, both when they are due (a Poisson process) and from processes of their own. Exit status 1,
and no table, when a request was lost, an answer differs from the one given alone, or a refusal lacks `Retry-After`;
1 as well, with the table, when the modest key was answered less than 90 % of what it asked.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.equality import body
from benchmarks.processes import serving
from benchmarks.servers import patchbay
from demo.cases import draw_cases
from service.settings import EMBEDDED_MODEL

KEYS = {"greedy": "sk-greedy", "modest": "sk-modest"}
LEAST_ANSWERED = 0.9
CLIENTS = 32
CONNECTIONS = 1000
"""Of one key: as many as the OpenAI SDK opens at most. What is due beyond that waits in the client."""
CASES, SEED = 200, 909


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: its status (0: none came), the seconds it took, whether it was right or properly refused."""

    status: int
    seconds: float
    sound: bool
    cause: str = ""
    """Why no answer came, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Load:
    """`rate` requests/s for `seconds` with one key; rate 0: `CLIENTS` clients, each waiting for its answer."""

    url: str
    key: str
    rate: float
    seconds: float
    right: Sequence[str] = ()
    """The answers given alone; empty: none is known yet."""


def sent(load: Load) -> list[Seen]:
    """Runs a load in this process."""
    return asyncio.run(_send(load))


async def _send(load: Load) -> list[Seen]:
    bodies = [body(case) for case in draw_cases(CASES, SEED)]
    chance = random.Random(SEED)
    headers = {"authorization": f"Bearer {KEYS[load.key]}"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(load.url, connector=connector, headers=headers) as session:

        async def one(number: int) -> Seen:
            return await _ask(
                session, bodies[number % CASES], load.right[number % CASES] if load.right else None
            )

        end = time.monotonic() + load.seconds
        if load.rate == 0:
            done: list[Seen] = []

            async def client(first: int) -> None:
                number = first
                while time.monotonic() < end:
                    done.append(await one(number))
                    number += CLIENTS

            await asyncio.gather(*(client(first) for first in range(CLIENTS)))
            return done
        tasks, due = [], time.monotonic()
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.append(asyncio.create_task(one(chance.randrange(CASES))))
            due += chance.expovariate(load.rate)
        return list(await asyncio.gather(*tasks))


async def _ask(session: aiohttp.ClientSession, request: dict[str, object], right: str | None) -> Seen:
    began = time.monotonic()
    try:
        async with session.post(
            "/v1/chat/completions", json=request, timeout=aiohttp.ClientTimeout(120)
        ) as reply:
            answer = await reply.json()
            if reply.status == 200:
                sound = right in (None, answer["choices"][0]["message"]["content"])
            else:
                sound = reply.status == 429 and "retry-after" in reply.headers
            return Seen(reply.status, time.monotonic() - began, sound, "" if sound else str(answer))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Seen(0, time.monotonic() - began, False, repr(error))


async def answers_alone(url: str) -> list[str]:
    headers = {"authorization": f"Bearer {KEYS['modest']}"}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        found = []
        for case in draw_cases(CASES, SEED):
            async with session.post("/v1/chat/completions", json=body(case)) as reply:
                found.append((await reply.json())["choices"][0]["message"]["content"])
        return found


def row(name: str, seen: Sequence[Seen]) -> str:
    answered = sorted(it.seconds for it in seen if it.status == 200)
    p50, p99 = (statistics.quantiles(answered, n=100)[at] * 1000 for at in (49, 98))
    cells = (
        name,
        len(seen),
        len(answered),
        sum(it.status == 429 for it in seen),
        f"{len(answered) / len(seen):.1%}",
    )
    return f"| {' | '.join(map(str, cells))} | {p50:.0f} | {p99:.0f} |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300, help="of both together (default %(default)s)")
    parser.add_argument("--alone", type=float, default=60, help="seconds of each alone (default %(default)s)")
    parser.add_argument(
        "--over", type=float, default=3, help="the greedy key's load, in capacities (default %(default)s)"
    )
    options = parser.parse_args()
    server = patchbay(EMBEDDED_MODEL, ())
    argv = (*server.argv, "--api-keys", ",".join(KEYS.values()))
    log = Path(tempfile.gettempdir()) / "patchbay-fairness.log"
    with serving(argv, server.environment, log, server.ready):
        right = asyncio.run(answers_alone(server.url))
        full = sent(Load(server.url, "greedy", 0, options.alone))
        capacity = sum(it.status == 200 for it in full) / options.alone
        modest = Load(server.url, "modest", capacity / 20, options.alone, right)
        alone = sent(modest)
        loads = (
            Load(server.url, "modest", capacity / 20, options.seconds, right),
            Load(server.url, "greedy", capacity * options.over, options.seconds, right),
        )
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
            beside, greedy = processes.map(sent, loads)
    unsound = [it for it in (*alone, *beside, *greedy) if not it.sound]
    if unsound:
        print(
            f"{len(unsound)} requests were lost, wrong, or refused without Retry-After: "
            f"{Counter(it.cause for it in unsound).most_common(5)}",
            file=sys.stderr,
        )
        return 1
    print(f"capacity {capacity:.1f} requests/s; the greedy key sends {capacity * options.over:.0f}\n")
    print(
        "| key | sent | answered | refused (429) | share | p50 ms | p99 ms |\n|---|---|---|---|---|---|---|"
    )
    print("\n".join((row("modest, alone", alone), row("modest, beside", beside), row("greedy", greedy))))
    return int(sum(it.status == 200 for it in beside) < LEAST_ANSWERED * len(beside))


if __name__ == "__main__":
    sys.exit(main())
