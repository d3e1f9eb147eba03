"""Every drill against a service of its own, without and with load: what clients saw, and how long it took to heal.

    make drills

A wrong answer, a request that never ended, or a service that did not heal is exit status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.equality import body
from demo.cases import Case, draw_cases
from tests.e2e.server import Server, serving
from tests.faults.drills import DRILLS, Drill, engine_killed

CLIENTS = 8
HEALED = 180.0
"""Seconds after which a service counts as one that does not heal."""
LONGEST = 120.0


@dataclass(slots=True)
class Seen:
    """By clients while a drill went on."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    slowest: float = 0.0


async def drilled(
    server: Server, drill: Drill, cases: list[Case], right: list[str], clients: int
) -> tuple[Seen, float]:
    """The seconds are those from the fault to the first of five right answers in a row, readiness included."""
    seen, stop = Seen(), asyncio.Event()
    async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(LONGEST)) as session:

        async def client(first: int) -> None:
            number = first
            while not stop.is_set():
                await _ask(session, cases[number % len(cases)], right[number % len(cases)], seen)
                number += CLIENTS

        load = [asyncio.create_task(client(first)) for first in range(clients)]
        if load:
            await asyncio.sleep(3)
        began = time.monotonic()
        fault = asyncio.create_task(asyncio.to_thread(drill.do, server))
        await asyncio.sleep(1)
        healed = await _healed(session, server, cases, right, began)
        await fault
        healed = max(healed, await _healed(session, server, cases, right, began) if clients else healed)
        stop.set()
        await asyncio.gather(*load)
    return seen, healed


async def _healed(
    session: aiohttp.ClientSession, server: Server, cases: list[Case], right: list[str], began: float
) -> float:
    row, first = 0, began
    while row < 5:
        if time.monotonic() - began > HEALED:
            return float("inf")
        here, probe = time.monotonic(), Seen()
        await _ask(session, cases[row], right[row], probe)
        ready = await asyncio.to_thread(server.ready)
        if ready and probe.statuses[200] and not probe.wrong:
            first = here if row == 0 else first
            row += 1
        else:
            row = 0
            await asyncio.sleep(0.2)
    return first - began


async def _ask(session: aiohttp.ClientSession, case: Case, right: str, seen: Seen) -> None:
    began, status = time.monotonic(), 0
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with session.post("/v1/chat/completions", json=body(case)) as reply:
            status, told = reply.status, await reply.json()
            seen.wrong += status == 200 and told["choices"][0]["message"]["content"] != right
    seen.statuses[status] += 1
    seen.slowest = max(seen.slowest, time.monotonic() - began)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="drills whose name contains this")
    parser.add_argument(
        "--kills", type=int, default=6, help="of the engine in a row, ten seconds after it is ready"
    )
    options = parser.parse_args()
    cases = [case for case in draw_cases(60, seed=21) if case.kind != "chat"]
    red = False
    flags = ("--allow-private-urls", "--request-timeout", "60", "--fetch-timeout", "5")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "log", *flags) as server:
        right = asyncio.run(_right(server, cases))
        print(
            "| drill | load | clients saw | wrong | slowest, s | healed after, s |\n|---|---|---|---|---|---|"
        )
        for drill in [it for it in DRILLS if not options.only or options.only in it.name]:
            for clients in (0, CLIENTS):
                red |= _report(server, drill, cases, right, clients)
        if not options.only:
            for number in range(options.kills):
                server.wait_ready()
                time.sleep(10)
                red |= _report(
                    server,
                    Drill(f"engine core killed again, {number + 1}", engine_killed),
                    cases,
                    right,
                    CLIENTS,
                )
    return int(red)


def _report(server: Server, drill: Drill, cases: list[Case], right: list[str], clients: int) -> bool:
    server.wait_ready()
    seen, healed = asyncio.run(drilled(server, drill, cases, right, clients))
    statuses = ", ".join(f"{count} × {status or 'none'}" for status, count in sorted(seen.statuses.items()))
    cells = (
        drill.name,
        clients or "none",
        statuses or "–",
        seen.wrong,
        f"{seen.slowest:.1f}",
        f"{healed:.1f}",
    )
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return bool(seen.wrong or healed == float("inf") or seen.statuses[0])


async def _right(server: Server, cases: list[Case]) -> list[str]:
    async with aiohttp.ClientSession(server.url) as session:
        found = []
        for case in cases:
            async with session.post("/v1/chat/completions", json=body(case)) as reply:
                found.append((await reply.json())["choices"][0]["message"]["content"])
        return found


if __name__ == "__main__":
    sys.exit(main())
