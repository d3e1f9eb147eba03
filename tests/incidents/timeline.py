"""What happened when: what was done to a service, and what its alerts did thereupon."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RULE = Mapping[str, Any]
"""As Prometheus' API lists it: https://prometheus.io/docs/prometheus/latest/querying/api/#rules"""


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    severity: str
    page: str
    """Its runbook."""


class Timeline:
    """Each line is printed when it is told, with the minutes since the beginning."""

    def __init__(
        self, say: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._began = clock()
        self._states: dict[str, str] = {}
        self.fired: dict[str, float] = {}
        """Seconds until each alert fired for the first time."""

    def begin(self) -> None:
        """Counts from now on."""
        self._began = self._clock()

    def tell(self, what: str) -> None:
        minutes, seconds = divmod(int(self._clock() - self._began), 60)
        self._say(f"{minutes:3d}:{seconds:02d}  {what}")

    def look(self, rules: Sequence[RULE]) -> list[Alert]:
        """Tells what has changed since the last look; those that fire and did not then."""
        new = []
        for rule in (rule for rule in rules if rule["type"] == "alerting"):
            name, state = rule["name"], rule["state"]
            before = self._states.get(name, "inactive")
            self._states[name] = state
            if state == before:
                continue
            alert = Alert(name, rule["labels"]["severity"], rule["annotations"]["runbook_url"])
            if state == "firing":
                self.tell(f"{name} fires ({alert.severity}): {alert.page}")
                self.fired.setdefault(name, self._clock() - self._began)
                new.append(alert)
            elif before == "firing":
                self.tell(f"{name} is over")
            elif state == "pending":
                self.tell(f"{name} is pending")
        return new
