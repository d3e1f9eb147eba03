"""Hostile requests against a running service, with plain ones beside them.

A request may be answered or refused; what it may not do is to end the service, to hang it, to meet a 5xx that is not
a deliberate 503 or 504, or to leave memory behind.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from tests.fuzz.corpus import PATH, Request, mutated

PLANNED = frozenset({200, 400, 404, 408, 413, 415, 422, 424, 429, 431})
DEADLINE = 120.0
PLAIN = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 4, "temperature": 0}


@dataclass(slots=True)
class Storm:
    """What was seen."""

    statuses: Counter[int] = field(default_factory=Counter)
    unplanned: list[tuple[int, bytes, str]] = field(default_factory=list)
    """Status (0: none), the beginning of the request, the beginning of the answer."""
    slow: list[tuple[float, int, bytes]] = field(default_factory=list)
    """Seconds, status and beginning of the slowest requests."""
    probes: list[float] = field(default_factory=list)
    failed_probes: int = 0

    def p99(self) -> float:
        """Seconds of the plain probes."""
        return statistics.quantiles(self.probes, n=100)[98] if len(self.probes) > 1 else 0.0


async def storm(url: str, requests: int, seed: int, *, clients: int = 16) -> Storm:
    """`requests` mutated requests by `clients` clients at once, and one client that only asks plainly."""
    seen = Storm()
    numbers = iter(range(requests))
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, timeout=timeout, connector=connector) as session:

        async def client() -> None:
            for number in numbers:
                await _send(session, mutated(random.Random(f"{seed} {number}")), seen)

        over = asyncio.Event()
        probing = asyncio.create_task(_probe(session, seen, over))
        await asyncio.gather(*(client() for _ in range(clients)))
        over.set()
        await probing
    return seen


async def _send(session: aiohttp.ClientSession, request: Request, seen: Storm) -> None:
    began = time.monotonic()
    status, told = 0, ""
    try:
        async with session.request(
            request.method, request.path, data=request.body, headers=request.headers
        ) as reply:
            status, told = reply.status, (await reply.text())[:400]
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        told = f"{type(error).__name__}: {error}"
    seen.slow = sorted([*seen.slow, (time.monotonic() - began, status, request.body[-3000:])], reverse=True)[
        :5
    ]
    seen.statuses[status] += 1
    if status not in PLANNED:
        seen.unplanned.append((status, request.body[:4000], told))


async def _probe(session: aiohttp.ClientSession, seen: Storm, over: asyncio.Event) -> None:
    while not over.is_set():
        began = time.monotonic()
        try:
            async with session.post(PATH, json=PLAIN) as reply:
                await reply.read()
                seen.failed_probes += reply.status != 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            seen.failed_probes += 1
        seen.probes.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
