"""How much load is applied when, as functions of the time and of what was measured.

A plan is asked every second for the level, in requests/s or users; None means that it is finished. It records its
stages, each a time window at one level, with their results. A plan never reads a clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from loadtests.figures import FIRST_TOKEN, Figures
from loadtests.options import Options
from loadtests.search import CapacitySearch
from loadtests.slo import Line, all_met, judge

CHANGE = 100.0
"""Users that are started or stopped per second when the level changes."""
LONGEST_REST = 120.0
"""Seconds that an overloaded server gets to finish what it was sent."""


@dataclass(slots=True)
class Stage:
    """`start` and `end` of the judged window, in seconds since the epoch."""

    name: str
    level: float
    start: float
    end: float
    lines: list[Line] = field(default_factory=list)

    @property
    def objectives_met(self) -> bool:
        return all_met(self.lines)

    @property
    def missed(self) -> str:
        """The objectives that were not met, for people."""
        return ", ".join(line.name.partition(",")[0] for line in self.lines if not line.met)


Part = tuple[str, float, Callable[[float], float]]
"""Name, duration in seconds, and the level as a function of the share of the duration that has passed."""


class Plan(Protocol):
    stages: list[Stage]

    def level(self, now: float, figures: Figures) -> float | None:
        """The level for this second; `now` in seconds since the epoch, never decreasing."""
        ...

    def verdict(self, figures: Figures) -> list[Line]:
        """The result of the run, once it is over."""
        ...


class Timed(ABC):
    """Stages known in advance, each judged (or not) by its own objectives at the end."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._began: float | None = None
        self.stages: list[Stage] = []

    @abstractmethod
    def parts(self) -> list[Part]:
        """The stages, one after another without a gap."""

    def level(self, now: float, figures: Figures) -> float | None:
        if self._began is None:
            self._began = now
            at = now
            for name, seconds, level in self.parts():
                self.stages.append(Stage(name, level(1.0), at, at + seconds))
                at += seconds
        for stage, (_, seconds, level) in zip(self.stages, self.parts(), strict=True):
            if now < stage.end:
                return level((now - stage.start) / seconds)
        return None

    def verdict(self, figures: Figures) -> list[Line]:
        for stage in self.stages:
            stage.lines = judge(figures.over(stage.start, stage.end), self._options.objectives)
        return self._worst()

    def _worst(self) -> list[Line]:
        """The missed objectives of all stages, or if there are none, those of the last stage, each with its stage."""

        def named(stages: list[Stage]) -> list[Line]:
            return [
                replace(line, name=f"{stage.name}: {line.name}") for stage in stages for line in stage.lines
            ]

        return [line for line in named(self.stages) if not line.met] or named(self.stages[-1:])


class Ramp(Timed):
    """Linear from zero to the rate."""

    def parts(self) -> list[Part]:
        o = self._options
        return [("ramp", o.seconds, lambda passed: o.rate * passed)]


class Soak(Timed):
    """One level, in three parts after the warm-up, so that the last can be compared with the first."""

    DRIFT = 1.5
    """How many times slower the p95 of the last third may be than that of the first."""

    def parts(self) -> list[Part]:
        o = self._options
        names = ("first third", "second third", "last third")
        return [("warm-up", o.warm, lambda _: o.rate)] + [(n, o.seconds / 3, lambda _: o.rate) for n in names]

    def verdict(self, figures: Figures) -> list[Line]:
        objectives = self._options.objectives
        for stage in self.stages[1:]:
            stage.lines = judge(figures.over(stage.start, stage.end), objectives)
        if len(self.stages) < 4:
            return []
        whole = judge(figures.over(self.stages[1].start, self.stages[-1].end), objectives)
        first, last = (
            figures.over(stage.start, stage.end).quantile(FIRST_TOKEN, 0.95)
            for stage in (self.stages[1], self.stages[-1])
        )
        if first and last is not None:
            drift = last / first if last != first else 1.0
            whole.append(
                Line("first token p95, last third ÷ first", drift, self.DRIFT, False, drift <= self.DRIFT)
            )
        return whole


class Spike(Timed):
    """Calm, a burst, calm again. During the burst, refusals are fine; errors and wrong answers never are."""

    def parts(self) -> list[Part]:
        o = self._options
        calm, peak = (lambda _: o.rate), (lambda _: o.peak)
        return [
            ("warm-up", o.warm, calm),
            ("calm", o.seconds, calm),
            ("burst", o.seconds, peak),
            ("recovery", o.seconds, calm),
            ("calm again", o.seconds, calm),
        ]

    def verdict(self, figures: Figures) -> list[Line]:
        for stage in self.stages[1:]:
            lines = judge(figures.over(stage.start, stage.end), self._options.objectives)
            if stage.name in ("burst", "recovery"):
                lines = [line for line in lines if line.name.startswith(("errors", "right"))]
            stage.lines = lines
        return self._worst()


class Steps:
    """One rate after another until an objective is missed, then rates in between, as `CapacitySearch` says.

    A step warms up, is measured, and goes on at the same rate for its tail, so that its last requests finish under the
    load that they were sent with. A request without a first token by then counts as later than any limit. After a step
    that was too much, the server may finish what it was sent.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._search = CapacitySearch(
            options.rate, options.growth, options.precision, options.most, options.unit
        )
        self.stages: list[Stage] = []
        self._open: Stage | None = None
        self._rest_until: float | None = None

    @property
    def capacity(self) -> float | None:
        """Requests/s: the highest rate sustained; None if none was."""
        return self._search.held

    def level(self, now: float, figures: Figures) -> float | None:
        if self._rest_until is not None:
            if now < self._rest_until and figures.in_flight > 0:
                return 0.0
            self._rest_until = None
        if self._open is not None:
            if now < self._open.end + self._options.tail:
                return self._open.level
            if not self._close(figures):
                self._rest_until = now + LONGEST_REST
                return 0.0
        rate = self._search.next()
        if rate is None:
            return None
        last = self.stages[-1] if self.stages else None
        change = rate - (last.level if last is not None and last.objectives_met else 0.0)
        start = now + self._options.warm + abs(change) / self._options.unit / CHANGE
        self._open = Stage(f"step {len(self.stages) + 1}", rate, start, start + self._options.seconds)
        return rate

    def _close(self, figures: Figures) -> bool:
        assert self._open is not None
        stage, self._open = self._open, None
        stage.lines = judge(figures.over(stage.start, stage.end), self._options.objectives)
        self.stages.append(stage)
        self._search.tell(stage.level, stage.objectives_met)
        return stage.objectives_met

    def verdict(self, figures: Figures) -> list[Line]:
        capacity = self.capacity or 0.0
        least = self._options.min_capacity
        lines = [Line("capacity, requests/s", capacity, least, True, 0 < capacity >= least)]
        best = next(
            (stage for stage in self.stages if stage.level == self.capacity and stage.objectives_met), None
        )
        return lines + (best.lines if best else [])


def plan_for(options: Options) -> Plan | None:
    """The plan of a shape; None if Locust's own options set the number of users."""
    plans: dict[str, Callable[[Options], Plan]] = {"steps": Steps, "ramp": Ramp, "spike": Spike, "soak": Soak}
    return plans[options.shape](options) if options.shape in plans else None
