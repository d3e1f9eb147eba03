"""Levels follow the plan, and capacity is found on a simulated service, second by second."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from loadtests import figures as f
from loadtests.figures import Figures
from loadtests.options import Options
from loadtests.plans import Plan, Steps, plan_for

Parse = Callable[..., Options]


class Service:
    """Answers up to `capacity` requests each second, the rest later; each second of queue adds one of waiting."""

    def __init__(self, capacity: float, refuses_above: float = 1e9) -> None:
        self.capacity = capacity
        self.refuses_above = refuses_above
        self.waiting = 0.0
        self.owed: list[tuple[float, float]] = []
        self.flying: list[int] = []
        """Requests without an end, at the beginning of each second."""

    def second(self, now: float, level: float, figures: Figures) -> None:
        self.flying.append(figures.in_flight)
        sent = round(level)
        refused = max(0, sent - round(self.refuses_above))
        for i in range(sent):
            figures.count(now, "chat", f.STARTED)
            figures.count(now, "chat", f.AWAITED)
            figures.value(now, "chat", f.LATE, 0.1)
            if i < refused:
                figures.count(now, "chat", f.REFUSED)
                figures.count(now, "chat", f.TOKENLESS)
                figures.count(now, "chat", f.LEFT)
            else:
                self.owed.append((now, now + self.waiting))
        self.waiting = max(0.0, self.waiting + (sent - refused) / self.capacity - 1)
        for due, ready in [each for each in self.owed if each[1] <= now]:
            self.owed.remove((due, ready))
            figures.value(due, "chat", f.FIRST_TOKEN, 1000 * (ready - due) + 20)
            figures.count(due, "chat", f.RIGHT)
            figures.count(now, "chat", f.LEFT)


def play(plan: Plan, service: Service, figures: Figures) -> list[float]:
    """The level of each second until the plan is over."""
    levels: list[float] = []
    while (level := plan.level(1000.0 + len(levels), figures)) is not None:
        assert len(levels) < 5000
        service.second(1000.0 + len(levels), level, figures)
        levels.append(level)
    return levels


def test_a_ramp_rises_in_a_straight_line(options: Parse) -> None:
    plan = plan_for(options("--shape", "ramp", "--rate", "10", "--seconds", "20"))
    assert plan is not None
    levels = play(plan, Service(100), Figures())
    assert levels == pytest.approx([i / 2 for i in range(20)])


def test_a_spike_forgives_refusals_in_its_burst_only(options: Parse) -> None:
    flags = ("--shape", "spike", "--rate", "5", "--peak", "50", "--seconds", "10", "--warm", "3")
    figures = Figures()
    plan = plan_for(options(*flags))
    assert plan is not None
    levels = play(plan, Service(20, refuses_above=20), figures)
    assert levels == [5] * 13 + [50] * 10 + [5] * 20
    assert all(line.met for line in plan.verdict(figures))
    burst = figures.over(plan.stages[2].start, plan.stages[2].end)
    assert burst.counts[f.REFUSED] == 300

    plan, figures = plan_for(options(*flags)), Figures()
    assert plan is not None
    play(plan, Service(20, refuses_above=4), figures)
    assert "calm: refused, share" in {line.name for line in plan.verdict(figures) if not line.met}


def test_a_service_that_does_not_recover_breaks_the_spike(options: Parse) -> None:
    figures = Figures()
    plan = plan_for(options("--shape", "spike", "--rate", "5", "--peak", "100", "--seconds", "10"))
    assert plan is not None
    play(plan, Service(6), figures)
    assert "calm again: first token p95, ms" in {line.name for line in plan.verdict(figures) if not line.met}


@pytest.mark.parametrize(("capacity", "drifts"), [(50, False), (9.9, True)])
def test_a_soak_finds_what_gets_slower(options: Parse, capacity: float, drifts: bool) -> None:
    figures = Figures()
    plan = plan_for(
        options("--shape", "soak", "--rate", "10", "--seconds", "60", "--slo-first-token-p95", "none")
    )
    assert plan is not None
    play(plan, Service(capacity), figures)
    missed = {line.name for line in plan.verdict(figures) if not line.met}
    assert missed == ({"first token p95, last third ÷ first"} if drifts else set())


@pytest.mark.parametrize("capacity", [7.0, 33.0, 140.0])
def test_steps_find_the_capacity(options: Parse, capacity: float) -> None:
    figures = Figures()
    plan = plan_for(options("--rate", "4", "--unit", "1", "--precision", "0.15"))
    assert isinstance(plan, Steps)
    service = Service(capacity)
    levels = play(plan, service, figures)
    lines = plan.verdict(figures)
    assert plan.capacity is not None
    assert capacity / 1.25 <= plan.capacity <= capacity * 1.05
    assert lines[0].name == "capacity, requests/s" and lines[0].value == plan.capacity
    assert all(line.met for line in lines)
    # after each rate that was too much nothing is sent until the service has worked off what it was sent
    begins = [i for i, (before, level) in enumerate(pairwise(levels), 1) if before == 0 < level]
    assert len(begins) == sum(not stage.objectives_met for stage in plan.stages[:-1])
    assert all(service.flying[i] == 0 for i in begins)


def test_requests_that_nobody_answers_break_a_step(options: Parse) -> None:
    figures = Figures()
    plan = plan_for(options("--rate", "4", "--unit", "1"))
    assert plan is not None
    service = Service(100)
    service.waiting = 1e6
    play(plan, service, figures)
    assert isinstance(plan, Steps) and plan.capacity is None
    assert not plan.stages[0].objectives_met
    assert not plan.verdict(figures)[0].met


def test_a_least_capacity_can_be_asked_for(options: Parse) -> None:
    figures = Figures()
    plan = plan_for(options("--rate", "4", "--unit", "1", "--min-capacity", "50"))
    assert plan is not None
    play(plan, Service(20), figures)
    assert not plan.verdict(figures)[0].met


def test_users_of_locusts_own_follow_no_plan(options: Parse) -> None:
    assert plan_for(options("--shape", "users")) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--images", "photos", "--answers", "world"), "--images scenes"),
        (("--model", "closed"), "--model open"),
        (("--shape", "spike", "--rate", "30"), "--peak 20 is below --rate 30"),
        (("--rate", "3", "--most", "2"), "--most 2 is below --rate 3"),
        (("--growth", "0.9"), "must be more than 1"),
    ],
)
def test_combinations_that_cannot_work_are_refused(
    options: Parse, flags: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        options(*flags)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--count", "0"), "not above zero"),
        (("--mix", "cats=1"), "chat, conversation"),
        (("--mix", "chat=-1"), "whole number"),
        (("--mix", "chat=0"), "no kind any weight"),
        (("--rate", "0"), "not above zero"),
        (("--slo-right", "97"), "between 0 and 1"),
        (("--slo-first-token-p95", "-3"), "not above zero"),
    ],
)
def test_values_that_make_no_sense_are_refused(
    options: Parse, flags: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options(*flags)
    assert words in capsys.readouterr().err


def test_a_mix_names_what_it_wants(options: Parse) -> None:
    mix = options("--mix", "chat=3,text=1").mix
    assert {kind for kind, weight in mix.items() if weight} == {"chat", "text"}
