"""Clients that stream answers about pictures at a steady rate, whatever becomes of their requests."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

LONGEST = 120.0


class Load:
    """One request every `pause` seconds, with the body that `make` returns for its number."""

    def __init__(self, url: str, key: str, pause: float, make: Callable[[int], Mapping[str, Any]]) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"}
        self._pause = pause
        self._make = make
        self._seen: Counter[str] = Counter()

    def seen(self) -> Counter[str]:
        """Statuses that clients saw since this was last asked."""
        seen, self._seen = self._seen, Counter()
        return seen

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(LONGEST)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for number in itertools.count():
                group.create_task(self._ask(session, number))
                await asyncio.sleep(self._pause)

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> None:
        body = {**self._make(number), "stream": True}
        try:
            async with session.post(self._url, json=body, headers=self._headers) as reply:
                text = await reply.text()
                whole = reply.status != 200 or text.rstrip().endswith("data: [DONE]")
                self._seen[str(reply.status) if whole else "broken stream"] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self._seen[type(error).__name__] += 1


def told(seen: Counter[str]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(seen.items())) or "nothing"


@asynccontextmanager
async def under(load: Load) -> AsyncIterator[Load]:
    running = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
