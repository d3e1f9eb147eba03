"""A plan's levels as a number of Locust users, and the end of every run, when the last requests finish."""

from __future__ import annotations

import logging
import time

from locust import LoadTestShape

from loadtests.figures import Figures
from loadtests.options import Options
from loadtests.plans import CHANGE, Plan
from loadtests.summary import stage_words

log = logging.getLogger("loadtests")


SETTLE = 7.0
"""Seconds of idleness after which every worker's last report has arrived; they report every three."""


class PlanShape(LoadTestShape):
    abstract = True

    def __init__(self, plan: Plan, options: Options, figures: Figures, distributed: bool) -> None:
        """`figures`: of all processes together."""
        super().__init__()
        self.ready = False
        """Set once everything is prepared; until then no user is started."""
        self.levels: list[tuple[float, float]] = []
        """(seconds since the epoch, level) at every change."""
        self._plan = plan
        self._options = options
        self._figures = figures
        self._settle = SETTLE if distributed else 1.0
        self._over_since: float | None = None
        self._idle_since = 0.0
        self._stages_told = 0

    def tick(self) -> tuple[int, float] | None:
        if not self.ready:
            return 0, CHANGE
        now = time.time()
        level = None if self._over_since is not None else self._plan.level(now, self._figures)
        self._tell(now)
        if level is None:
            return self._drain(now)
        self._note(now, level)
        return self.users(level), CHANGE

    def users(self, level: float) -> int:
        """The number of users for a level: sources of `unit` requests/s each, or closed-loop users."""
        per_user = self._options.unit if self._options.model == "open" else 1.0
        return max(round(level / per_user), 1 if level > 0 else 0)

    def _drain(self, now: float) -> tuple[int, float] | None:
        if self._over_since is None:
            self._over_since = self._idle_since = now
            self._note(now, 0.0)
        passed = now - self._over_since
        # while users are still being stopped, more requests may follow
        if self.get_current_user_count() or self._figures.in_flight > 0:
            self._idle_since = now
        settled = now - self._idle_since >= self._settle
        if settled or passed > self._options.timeout + 2 * self._settle:
            return None
        return 0, CHANGE

    def _tell(self, now: float) -> None:
        """Logs a line for each finished stage, to show the progress of the run."""
        for stage in self._plan.stages[self._stages_told :]:
            if stage.end > now:
                return
            self._stages_told += 1
            log.info("%s", stage_words(stage, self._options, self._figures))

    def _note(self, now: float, level: float) -> None:
        if not self.levels or self.levels[-1][1] != level:
            self.levels.append((now, level))
