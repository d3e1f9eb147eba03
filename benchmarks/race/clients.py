"""Closed loops, in which each client asks, reads the whole stream, and asks again; and open ones, in which requests are
sent when they are due. The clock is the client's own."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.race.scenarios import Ask, Script

TIMEOUT = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one measured request; `first` is seconds to the first token, from when it was sent or due."""

    text: str
    first: float


@dataclass(slots=True)
class Heard:
    """What the clients of a scenario heard: answers by client and number, and whatever else came, in words."""

    answers: dict[tuple[int, int], Answer] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.answers) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds to the first token; infinite where nothing was answered."""
        if not self.answers:
            return math.inf
        times = sorted(answer.first for answer in self.answers.values())
        return 1000 * times[min(len(times) - 1, int(share * len(times)))]


async def listen(url: str, scripts: Sequence[Script], seconds: float, tokens: int) -> Heard:
    """Runs every script until `seconds` are over or it ends; requests on their way are heard to their end.

    Only what is answered in time counts, and time ends for all when the first script does.
    """
    heard = Heard()
    over = asyncio.Event()
    began = time.perf_counter()
    limits = httpx.Limits(max_connections=len(scripts), max_keepalive_connections=len(scripts))
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits) as client:
        model = (await client.get("/v1/models")).json()["data"][0]["id"]

        async def run(number: int, script: Script) -> None:
            for at, ask in enumerate(script):
                answer = await _ask(client, model, ask, tokens, heard.faults)
                if over.is_set():
                    return
                if ask.measured and answer is not None:
                    heard.answers[number, at] = answer
            over.set()

        running = [asyncio.create_task(run(number, script)) for number, script in enumerate(scripts)]
        try:
            async with asyncio.timeout(seconds):
                await over.wait()
        except TimeoutError:
            over.set()
        heard.seconds = time.perf_counter() - began
        await asyncio.gather(*running)
    return heard


async def offer(url: str, asks: Iterable[Ask], due: Sequence[float], tokens: int) -> Heard:
    """Sends each request `due` so many seconds after the start, whatever has become of those before it, and reads every
    answer to its end. The first token is counted from when its request was due.
    """
    heard = Heard()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits) as client:
        model = (await client.get("/v1/models")).json()["data"][0]["id"]
        began = time.perf_counter()

        async def send(number: int, ask: Ask, at: float) -> None:
            await asyncio.sleep(began + at - time.perf_counter())
            answer = await _ask(client, model, ask, tokens, heard.faults, began + at)
            if answer is not None:
                heard.answers[0, number] = answer

        async with asyncio.TaskGroup() as tasks:
            for number, (ask, at) in enumerate(zip(asks, due, strict=False)):
                tasks.create_task(send(number, ask, at))
        heard.seconds = time.perf_counter() - began
    return heard


async def _ask(
    client: httpx.AsyncClient, model: str, ask: Ask, tokens: int, faults: list[str], due: float | None = None
) -> Answer | None:
    body = {
        "model": model,
        "messages": ask.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,
    }
    began = time.perf_counter() if due is None else due
    first, text, used = None, "", 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            faults.append(f"{reply.status_code} {(await reply.aread()).decode()[:300]}")
            return None
        async for line in reply.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                faults.append(line[:300])
                return None
            if event["choices"]:
                # random weights also write bytes that are no text yet, so content may be empty
                if first is None and "role" not in event["choices"][0]["delta"]:
                    first = time.perf_counter() - began
                text += event["choices"][0]["delta"].get("content") or ""
            if event.get("usage"):
                used = event["usage"]["completion_tokens"]
    if used != tokens or first is None:
        faults.append(f"{used} tokens of {tokens}")
        return None
    return Answer(text, first)
