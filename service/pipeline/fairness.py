"""How callers share what there is not enough of: a bounded number of places, the order in every queue, a rate.

Places follow weighted max-min fairness: a caller below its share always gets a free place; above it, only what others
are not about to need. The order is start-time fair queueing (Goyal, Vin and Cheng, 1996): each request gets a tag on a
virtual clock that advances by 1/weight for each request of one caller, so one with a long queue does not delay one with
a short one, and nobody waits for ever.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.domain import Caller, Priority

MEMORY = 60.0
"""Seconds after which a caller that asks for nothing is no longer counted on."""
HEADROOM = 16
"""One of so many places is kept for callers that have not asked lately."""
TICKS = 64
"""Ranks are whole numbers; so many lie between two requests of a caller of weight 1."""
BATCH = 1 << 40
"""Ranks of batch requests begin here, behind every interactive one."""


@dataclass(slots=True)
class _Use:
    weight: float
    taken: int = 0
    peak: float = 0.0
    """The most that was taken lately; decays."""
    at: float = 0.0


class FairPlaces:
    """`capacity` places. `shared`: whether there is more than one caller to share them with."""

    def __init__(
        self,
        capacity: int,
        *,
        shared: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self.taken = 0
        self._shared = shared
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def of(self, caller: Caller) -> int:
        """Places that it holds."""
        use = self._uses.get(caller.name)
        return use.taken if use else 0

    def admits(self, caller: Caller) -> bool:
        """Whether it may take one more."""
        free = self.capacity - self.taken
        if free <= 0:
            return False
        if not self._shared():
            return True
        now = self._clock()
        others = self._others(caller, now)
        weights = caller.weight + sum(use.weight for use in others)
        if self.of(caller) < self._share(caller.weight, weights):
            return True
        return free > self._headroom + sum(self._expected(use, weights, now) for use in others)

    def take(self, caller: Caller) -> None:
        now = self._clock()
        use = self._uses.setdefault(caller.name, _Use(caller.weight))
        use.weight = caller.weight
        use.taken += 1
        use.peak, use.at = max(self._decayed(use, now), use.taken), now
        self.taken += 1

    def give_back(self, caller: Caller) -> None:
        self._uses[caller.name].taken -= 1
        self.taken -= 1

    def _others(self, caller: Caller, now: float) -> list[_Use]:
        """The callers that hold places, or did lately. Forgets the rest."""
        for name in [n for n, use in self._uses.items() if not use.taken and now - use.at > MEMORY]:
            del self._uses[name]
        return [use for name, use in self._uses.items() if name != caller.name]

    def _expected(self, use: _Use, weights: float, now: float) -> float:
        """The places that one of the others may want soon, up to its share."""
        share = self._share(use.weight, weights)
        return max(0, min(share, 2 * math.ceil(self._decayed(use, now)) + 2) - use.taken)

    @property
    def _headroom(self) -> int:
        return max(1, self.capacity // HEADROOM)

    def _share(self, weight: float, weights: float) -> int:
        return max(1, math.floor((self.capacity - self._headroom) * weight / weights))

    def _decayed(self, use: _Use, now: float) -> float:
        return use.peak * math.exp((use.at - now) / MEMORY)


class FairOrder:
    """Ranks for requests: integers, lowest first."""

    def __init__(self) -> None:
        self._virtual = 0.0
        """The highest tag of a request that was answered."""
        self._next: dict[str, float] = {}
        """Caller → the tag that its next request gets, at the earliest."""
        self._inside = 0

    def enter(self, caller: Caller) -> float:
        """The tag of a request, which must `leave` with it."""
        tag = max(self._virtual, self._next.get(caller.name, 0.0))
        self._next[caller.name] = tag + 1 / caller.weight
        self._inside += 1
        return tag

    def leave(self, tag: float) -> None:
        self._virtual = max(self._virtual, tag)
        self._inside -= 1
        if not self._inside:
            self._next.clear()

    @staticmethod
    def rank(tag: float, caller: Caller) -> int:
        return round(tag * TICKS) + (BATCH if caller.priority is Priority.BATCH else 0)


class RateLimit:
    """Requests a minute for each caller that has such a limit, as a token bucket that holds a minute's worth.

    One rate: the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._arrival: dict[str, float] = {}

    def wait(self, caller: Caller) -> float:
        """Seconds until its next request is within the limit; 0: now."""
        if caller.requests_per_minute is None:
            return 0.0
        interval = 60 / caller.requests_per_minute
        ahead = self._arrival.get(caller.name, 0.0) - self._clock()
        return max(0.0, ahead + interval - 60)

    def count(self, caller: Caller) -> None:
        if caller.requests_per_minute is not None:
            arrival = max(self._arrival.get(caller.name, 0.0), self._clock())
            self._arrival[caller.name] = arrival + 60 / caller.requests_per_minute
