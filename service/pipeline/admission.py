"""Who may enter: places for requests, and permits in visual tokens, both counted before the work they are for.

A request takes a place or is refused at once. Visual tokens are waited for, first come first served, so that a large
image is not passed by small ones for ever. The seconds in `Retry-After` are measured from how long requests have
taken. Not thread-safe: one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.errors import Draining, InvalidRequest, QueueFull

SMOOTHING = 0.1
LEAST_WAIT = 1.0
LONGEST_WAIT = 60.0


class Ewma:
    """Exponentially weighted mean of a duration in seconds; `first` until something was measured."""

    def __init__(self, first: float = 1.0) -> None:
        self.seconds = first
        self._count = 0

    def add(self, seconds: float) -> None:
        self._count += 1
        # a plain mean to begin with, so that the guess made before any measurement is not remembered
        self.seconds += max(SMOOTHING, 1 / self._count) * (seconds - self.seconds)


class VisualPermit:
    """Visual tokens held; giving them back twice is harmless. Also a context manager."""

    def __init__(self, tokens: int, give_back: Callable[[int, float], None], now: float) -> None:
        self.tokens = tokens
        self._give_back: Callable[[int, float], None] | None = give_back
        self._since = now

    def release(self) -> None:
        if self._give_back is not None:
            give_back, self._give_back = self._give_back, None
            give_back(self.tokens, self._since)

    def __enter__(self) -> VisualPermit:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(slots=True, eq=False)
class _Waiter:
    tokens: int
    granted: asyncio.Future[None] = field(repr=False)


class Admission:
    def __init__(
        self,
        *,
        max_inflight: int,
        max_visual_tokens: int,
        max_waiting: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_waiting` requests may wait for visual tokens; by default as many as may be in flight."""
        self._max_inflight = max_inflight
        self._max_visual_tokens = max_visual_tokens
        self._max_waiting = max_inflight if max_waiting is None else max_waiting
        self._clock = clock
        self._inflight = 0
        self._refused = 0
        self._served = Ewma()
        self._free_tokens = max_visual_tokens
        self._waiting: deque[_Waiter] = deque()
        self._holding = Ewma()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def inflight(self) -> int:
        return self._inflight

    @property
    def visual_reserved(self) -> int:
        """Visual tokens that are held."""
        return self._max_visual_tokens - self._free_tokens

    @property
    def visual_waiting(self) -> int:
        """Requests that wait for visual tokens."""
        return len(self._waiting)

    @property
    def draining(self) -> bool:
        return self._draining

    def drain(self) -> None:
        """From now on every new request is refused; those inside go on."""
        self._draining = True

    async def idle(self) -> None:
        """Returns once no request is inside."""
        await self._idle.wait()

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """A request's place, for as long as its answer takes. Raises QueueFull, Draining."""
        self._enter()
        since = self._clock()
        try:
            yield
        finally:
            self._leave(since)

    async def visual(self, tokens: int, *, param: str | None = None) -> VisualPermit:
        """Waits for `tokens` visual tokens: all that a request needs, in one call, or two requests could wait for
        each other for ever.

        Raises InvalidRequest (more than there are), QueueFull (too many wait already).
        """
        if tokens > self._max_visual_tokens:
            raise InvalidRequest(
                f"The images need {tokens} visual tokens; the server has {self._max_visual_tokens} for all requests "
                "together. Send fewer or smaller images, or ask for detail low.",
                param=param,
            )
        if self._waiting or tokens > self._free_tokens:
            await self._wait(tokens)
        else:
            self._free_tokens -= tokens
        return VisualPermit(tokens, self._give_back, self._clock())

    def _enter(self) -> None:
        if self._draining:
            raise Draining("The server is shutting down; ask another one.", retry_after=LEAST_WAIT)
        if self._inflight >= self._max_inflight:
            # places come free one after another; whoever was refused before will want the first of them
            self._refused += 1
            seconds = self._served.seconds * self._refused / self._max_inflight
            raise QueueFull(
                f"The server is answering {self._inflight} requests, as many as it takes at once.",
                retry_after=_bounded(seconds),
            )
        self._inflight += 1
        self._idle.clear()

    def _leave(self, since: float) -> None:
        self._served.add(self._clock() - since)
        self._refused = 0
        self._inflight -= 1
        if not self._inflight:
            self._idle.set()

    async def _wait(self, tokens: int) -> None:
        if len(self._waiting) >= self._max_waiting:
            ahead = tokens + sum(waiter.tokens for waiter in self._waiting)
            raise QueueFull(
                f"{len(self._waiting)} requests wait for visual tokens already, as many as may.",
                retry_after=_bounded(self._holding.seconds * ahead / self._max_visual_tokens),
            )
        waiter = _Waiter(tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter.granted
        except BaseException:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:
                # granted in the same turn of the loop in which its task was cancelled
                self._free_tokens += tokens
            self._grant()
            raise

    def _give_back(self, tokens: int, since: float) -> None:
        self._holding.add(self._clock() - since)
        self._free_tokens += tokens
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self._waiting[0].tokens <= self._free_tokens:
            waiter = self._waiting.popleft()
            self._free_tokens -= waiter.tokens
            if not waiter.granted.done():
                waiter.granted.set_result(None)


def _bounded(seconds: float) -> float:
    return min(max(seconds, LEAST_WAIT), LONGEST_WAIT)
