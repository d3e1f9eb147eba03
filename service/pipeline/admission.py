"""Who may enter: places for bodies that arrive, places for requests, and visual tokens, each counted before the work it
is for.

A slot is taken or refused at once. Visual tokens are waited for in the order of the requests' ranks, and small images
do not overtake a large one for ever. `fairness` decides how callers share all this. The seconds in `Retry-After` are
measured from how long requests have taken. Not thread-safe: one event loop.
"""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.domain import ANYBODY, Caller
from service.errors import Draining, InvalidRequest, QueueFull, RateLimited
from service.pipeline.fairness import FairOrder, FairPlaces, RateLimit

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


class Visit:
    """One request from the first byte of its body to the last of its answer."""

    def __init__(self, admission: Admission, caller: Caller) -> None:
        self.rank = 0
        """Its place in every queue, once it has entered."""
        self.asked = False
        """Whether it has asked to enter: its body has arrived and is in order."""
        self._admission = admission
        self._caller = caller

    def enter(self) -> None:
        """The body has arrived: takes a request's place. Raises QueueFull, RateLimited."""
        self.asked = True
        self.rank = self._admission._enter(self, self._caller)


@dataclass(slots=True)
class _Entered:
    tag: float
    since: float


@dataclass(slots=True, eq=False)
class _Waiter:
    rank: int
    number: int
    tokens: int
    caller: Caller
    granted: asyncio.Future[None] = field(repr=False)

    def __lt__(self, other: _Waiter) -> bool:
        return (self.rank, self.number) < (other.rank, other.number)


class Admission:
    def __init__(
        self,
        *,
        max_inflight: int,
        max_visual_tokens: int,
        max_bodies: int | None = None,
        max_waiting: int | None = None,
        shared: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """As many bodies may arrive, and as many requests wait for visual tokens, as requests may be in progress, where
        nothing else is said. `shared`: whether there is more than one caller.
        """
        self._places = FairPlaces(max_inflight, shared=shared, clock=clock)
        self._bodies = FairPlaces(
            max_inflight if max_bodies is None else max_bodies, shared=shared, clock=clock
        )
        self._order = FairOrder()
        self._rate = RateLimit(clock)
        self._max_visual_tokens = max_visual_tokens
        self._max_waiting = max_inflight if max_waiting is None else max_waiting
        self._clock = clock
        self._entered: dict[Visit, _Entered] = {}
        self._refused: Counter[str] = Counter()
        self._served = Ewma()
        self._free_tokens = max_visual_tokens
        self._held_tokens: Counter[str] = Counter()
        self._waiting: list[_Waiter] = []
        self._waited = 0
        self._holding = Ewma()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def inflight(self) -> int:
        """Requests in progress."""
        return self._places.taken

    @property
    def arriving(self) -> int:
        """Requests whose bodies are arriving."""
        return self._bodies.taken

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
        """From now on every new request is refused; those whose body has begun to arrive go on."""
        self._draining = True

    async def idle(self) -> None:
        """Returns once no request is inside."""
        await self._idle.wait()

    @contextmanager
    def visit(self, caller: Caller = ANYBODY) -> Iterator[Visit]:
        """For as long as a request takes: counted as a body that arrives until it has entered.

        Raises Draining, and QueueFull or RateLimited when there is no place for the body, or none for the request.
        """
        if self._draining:
            raise Draining("The server is shutting down; ask another one.", retry_after=LEAST_WAIT)
        # a body that could not be answered need not be read
        self._check_request(caller)
        self._check_body(caller)
        self._bodies.take(caller)
        self._idle.clear()
        visit = Visit(self, caller)
        try:
            yield visit
        finally:
            self._leave(visit, caller)

    async def visual(
        self, tokens: int, *, caller: Caller = ANYBODY, rank: int = 0, param: str | None = None
    ) -> VisualPermit:
        """Waits for `tokens` visual tokens: all that a request needs, in one call, or two requests could wait for
        each other for ever.

        Raises InvalidRequest (more than there are), QueueFull (too many wait already).
        """
        most, whose = self._max_visual_tokens, "the server has {} for all requests together"
        if caller.max_visual_tokens is not None and caller.max_visual_tokens < most:
            most, whose = caller.max_visual_tokens, "this API key may use {} at once"
        if tokens > most:
            raise InvalidRequest(
                f"The images need {tokens} visual tokens; {whose.format(most)}. Send fewer or smaller images, or ask "
                "for detail low.",
                param=param,
            )
        waiter = _Waiter(rank, self._waited, tokens, caller, asyncio.get_running_loop().create_future())
        self._waited += 1
        insort(self._waiting, waiter)
        self._grant()
        if not waiter.granted.done():
            await self._wait(waiter)
        return VisualPermit(tokens, lambda count, since: self._give_back(caller, count, since), self._clock())

    def _check_body(self, caller: Caller) -> None:
        if caller.max_bodies is not None and self._bodies.of(caller) >= caller.max_bodies:
            raise QueueFull(
                f"{self._bodies.of(caller)} request bodies are arriving with this API key, as many as it may send at "
                "once.",
                retry_after=LEAST_WAIT,
            )
        if not self._bodies.admits(caller):
            raise QueueFull(
                f"The server is receiving {self._bodies.taken} request bodies and can take no more of this caller.",
                retry_after=LEAST_WAIT,
            )

    def _check_request(self, caller: Caller) -> None:
        if seconds := self._rate.wait(caller):
            raise RateLimited(
                f"This API key may send {caller.requests_per_minute} requests a minute.", retry_after=seconds
            )
        held = self._places.of(caller)
        if caller.max_requests is not None and held >= caller.max_requests:
            raise QueueFull(
                f"{held} requests are in progress with this API key, as many as it may have at once.",
                retry_after=self._until_a_place(caller, held),
            )
        if not self._places.admits(caller):
            raise QueueFull(
                f"The server is answering {self._places.taken} requests, as many as it takes at once."
                if self._places.taken >= self._places.capacity
                else f"The server is busy, and {held} requests are in progress with this API key, which is its share.",
                retry_after=self._until_a_place(caller, held),
            )

    def _until_a_place(self, caller: Caller, held: int) -> float:
        # places come free one after another; whoever was refused before will want the first of them
        self._refused[caller.name] += 1
        return _bounded(self._served.seconds * self._refused[caller.name] / max(1, held))

    def _enter(self, visit: Visit, caller: Caller) -> int:
        self._check_request(caller)
        self._rate.count(caller)
        self._places.take(caller)
        self._bodies.give_back(caller)
        self._entered[visit] = _Entered(self._order.enter(caller), self._clock())
        return self._order.rank(self._entered[visit].tag, caller)

    def _leave(self, visit: Visit, caller: Caller) -> None:
        entered = self._entered.pop(visit, None)
        if entered is None:
            self._bodies.give_back(caller)
            if not visit.asked:
                # reading what was refused took as much time as reading what is answered
                self._rate.count(caller)
        else:
            self._served.add(self._clock() - entered.since)
            self._refused.pop(caller.name, None)
            self._order.leave(entered.tag)
            self._places.give_back(caller)
        if not self._places.taken and not self._bodies.taken:
            self._idle.set()

    async def _wait(self, waiter: _Waiter) -> None:
        if len(self._waiting) > self._max_waiting:
            self._waiting.remove(waiter)
            ahead = waiter.tokens + sum(other.tokens for other in self._waiting)
            raise QueueFull(
                f"{len(self._waiting)} requests wait for visual tokens already, as many as may.",
                retry_after=_bounded(self._holding.seconds * ahead / self._max_visual_tokens),
            )
        try:
            await waiter.granted
        except BaseException:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:
                # granted in the same turn of the loop in which its task was cancelled
                self._take_back(waiter.caller, waiter.tokens)
            self._grant()
            raise

    def _give_back(self, caller: Caller, tokens: int, since: float) -> None:
        self._holding.add(self._clock() - since)
        self._take_back(caller, tokens)
        self._grant()

    def _take_back(self, caller: Caller, tokens: int) -> None:
        self._free_tokens += tokens
        self._held_tokens[caller.name] -= tokens
        if not self._held_tokens[caller.name]:
            del self._held_tokens[caller.name]

    def _grant(self) -> None:
        """To the waiting in their order, up to the first for whom there is not enough; one whose caller holds all that
        it may does not keep the others waiting."""
        for waiter in list(self._waiting):
            most = waiter.caller.max_visual_tokens
            if most is not None and self._held_tokens[waiter.caller.name] + waiter.tokens > most:
                continue
            if waiter.tokens > self._free_tokens:
                return
            self._waiting.remove(waiter)
            self._free_tokens -= waiter.tokens
            self._held_tokens[waiter.caller.name] += waiter.tokens
            if not waiter.granted.done():
                waiter.granted.set_result(None)


def _bounded(seconds: float) -> float:
    return min(max(seconds, LEAST_WAIT), LONGEST_WAIT)
