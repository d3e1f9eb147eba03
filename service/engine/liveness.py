"""Whether the engine makes progress. vLLM's server answers `/health` even while the process behind it is stopped or
stuck, so one token is generated every few seconds; only a finished step can answer that.

A probe that is late proves nothing by itself: it may wait behind others, or the current step may be a long one. The
engine counts as stalled only if its step counter stands still too and, on a CPU, its processes are not computing.
It takes two looks, one after the other: if this process stood still itself, what it missed arrives between them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from service.domain import EngineReply
from service.engine.scrape import scrape
from service.errors import EngineFailed, EngineUnavailable

log = logging.getLogger(__name__)

ROUTE = "/v1/completions"
STEPS = re.compile(rb"^vllm:iteration_tokens_total_count\{[^}]*\} (\S+)", re.MULTILINE)
UNTRACED = {"traceparent": f"00-{'5':0>32}-{'5':0>16}-00"}
"""A trace context that is not sampled: probes leave no spans behind."""
BUSY = 0.5
"""Cores that the engine must keep busy for a step to count as a long one."""
LONG_STEP = 10.0
"""How many times the stall timeout a step may take while the engine's processes are computing."""
FIRST = -(2**31)
"""The scheduling priority of a probe, ahead of every request."""


class Probed(Protocol):
    """Of the engine's client, what is needed here."""

    async def health(self) -> bool: ...

    async def post(
        self, route: str, payload: Mapping[str, Any], headers: Mapping[str, str]
    ) -> EngineReply: ...

    async def get(self, route: str) -> EngineReply: ...


class Liveness:
    """`health()` is to be called about once a second; it sends a probe when the last one was a while ago.

    `stall_timeout`: seconds without progress, from the last answered probe. `cpu_seconds`: CPU time that the engine's
    processes have used so far; None where it says nothing (on a GPU, where waiting looks like work).
    """

    def __init__(
        self,
        engine: Probed,
        model: str,
        *,
        stall_timeout: float,
        by_priority: bool = False,
        cpu_seconds: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stalls = 0
        """How often the engine stopped making progress."""
        self._engine = engine
        # two tokens: on a CPU, a vLLM 0.32 without our plugin dies of a prompt of one in gated-delta layers
        self._payload = {
            "model": model,
            "prompt": [1, 1],
            "max_tokens": 1,
            "temperature": 0,
            "ignore_eos": True,
        }
        if by_priority:
            self._payload["priority"] = FIRST
        self._every = stall_timeout / 3
        self._stall_timeout = stall_timeout
        self._cpu_seconds = cpu_seconds
        self._clock = clock
        self._probe: asyncio.Task[None] | None = None
        self._can_be_probed = True
        self._stalled = False
        self._begin(clock())

    async def health(self) -> bool:
        """Whether the engine's server answers and the engine makes progress."""
        if not await self._engine.health():
            await self.aclose()
            self._begin(self._clock())
            return False
        if not self._can_be_probed:
            return True
        now = self._clock()
        if self._probe is not None and self._probe.done():
            self._probe = None
        if self._probe is None and now - self._progress >= self._every:
            self._probe = asyncio.create_task(self._ask(), name="engine probe")
        if now - self._progress < self._stall_timeout * 2 / 3:
            return True
        await self._look()
        stalled = self._looks > 1 and self._clock() - self._progress >= self._stall_timeout
        if stalled and not self._stalled:
            self.stalls += 1
            log.error(
                "the engine has made no progress for %.0f s, although its server answers",
                now - self._progress,
            )
        self._stalled = stalled
        return not stalled

    async def aclose(self) -> None:
        """Ends a probe that is under way."""
        if self._probe is not None:
            probe, self._probe = self._probe, None
            probe.cancel()
            with suppress(asyncio.CancelledError):
                await probe

    def _begin(self, now: float) -> None:
        self._progress = now
        """When the engine last made progress, as far as is known."""
        self._looks = 0
        """Since it made progress."""
        self._steps: float | None = None
        self._worked: tuple[float, float] | None = None
        self._computing_since: float | None = None
        self._stalled = False

    async def _ask(self) -> None:
        try:
            reply = await self._engine.post(ROUTE, self._payload, UNTRACED)
            try:
                async for _ in reply.body():
                    pass
            finally:
                await reply.aclose()
        except (EngineUnavailable, EngineFailed):
            return
        if 400 <= reply.status < 500:
            self._can_be_probed = False
            log.warning("the engine refuses probes (status %d): a stall will not be noticed", reply.status)
        if reply.status == 200:
            self._begin(self._clock())

    async def _look(self) -> None:
        """For progress that is not a probe's answer: steps, and on a CPU a step that is still being computed."""
        steps = await self._step_count()
        now = self._clock()
        self._looks += 1
        if steps is not None:
            if self._steps is not None and steps != self._steps:
                self._begin(now)
            self._steps = steps
        if self._cpu_seconds is not None:
            self._look_at_work(now, self._cpu_seconds())

    def _look_at_work(self, now: float, used: float) -> None:
        before, self._worked = self._worked, (now, used)
        if before is None or now <= before[0]:
            return
        if (used - before[1]) / (now - before[0]) < BUSY:
            self._computing_since = None
            return
        self._computing_since = before[0] if self._computing_since is None else self._computing_since
        if now - self._computing_since < LONG_STEP * self._stall_timeout:
            self._progress = max(self._progress, now - self._stall_timeout * 2 / 3)

    async def _step_count(self) -> float | None:
        try:
            page, _ = await scrape(self._engine, seconds=1.0)
        except EngineUnavailable:
            return None
        found = STEPS.search(page)
        return float(found.group(1)) if found else None
