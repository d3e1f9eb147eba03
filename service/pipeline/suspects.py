"""Requests that may have ended the engine.

When it dies, everything that was in flight is a suspect. A request that was in flight at two deaths in a row is refused
for a while, so that a client that keeps retrying cannot end the engine for everybody again and again. One that has been
answered in between is no suspect any more: many clients may send the same harmless request. Requests are known by a
fingerprint of their content, whoever sends them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from blake3 import blake3

from service.errors import RequestBlocked

log = logging.getLogger(__name__)

MOST = 4096
"""Fingerprints that are kept of each sort; more can hardly be in flight."""


class Suspects:
    """`seconds`: how long a suspect is remembered, and how long a request is refused; 0: none ever is."""

    def __init__(
        self,
        seconds: float,
        *,
        on_blocked: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._on_blocked = on_blocked
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        """Fingerprint → the run of the engine at whose end it was in flight last, and when that was forgotten."""
        self._blocked: dict[str, float] = {}

    def check(self, payload: Mapping[str, Any]) -> None:
        """Raises RequestBlocked."""
        # a fingerprint takes milliseconds for megabytes of images: not taken as long as there is nothing to compare
        if not self._blocked:
            return
        name, now = fingerprint(payload), self._clock()
        until = self._blocked.get(name, 0.0)
        if now < until:
            raise RequestBlocked(
                "This request was in progress both of the last two times that the engine died, so it is refused for "
                f"another {until - now:.0f} seconds. Please report it to the operator of this server as {name}."
            )
        self._blocked = {key: end for key, end in self._blocked.items() if now < end}

    def answered(self, payload: Mapping[str, Any]) -> None:
        """To be called when the engine has answered a request completely."""
        # as in `check`: nothing is computed while no death is remembered
        if self._seen:
            now = self._clock()
            self._seen.pop(fingerprint(payload), None)
            self._seen = {key: (run, until) for key, (run, until) in self._seen.items() if now < until}

    def in_flight_at_death(self, payload: Mapping[str, Any], run: int) -> None:
        """`run` counts the engine's runs; it is the one that has just ended."""
        if not self._seconds:
            return
        name, now = fingerprint(payload), self._clock()
        before, until = self._seen.pop(name, (run, now))
        if before == run - 1 and now < until and name not in self._blocked:
            self._blocked[name] = now + self._seconds
            self._on_blocked()
            log.error(
                "request %s was in flight at two deaths of the engine in a row; it is refused for %g s",
                *(name, self._seconds),
            )
        self._seen[name] = run, now + self._seconds
        for kept in (self._seen, self._blocked):
            while len(kept) > MOST:
                kept.pop(next(iter(kept)))


def fingerprint(payload: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for a request's content."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return blake3(text.encode()).hexdigest(length=8)
