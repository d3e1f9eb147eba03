"""The edge is found wherever it lies, on a server that is simulated."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.search import CapacitySearch


def run(search: CapacitySearch, edge: float) -> list[float]:
    tried: list[float] = []
    while (rate := search.next()) is not None:
        assert len(tried) < 100 and rate not in tried
        tried.append(rate)
        search.tell(rate, rate <= edge)
    return tried


@given(st.floats(0.5, 900), st.floats(1.1, 3), st.floats(0.02, 0.5))
def test_the_edge_is_found_as_closely_as_asked(edge: float, growth: float, precision: float) -> None:
    search = CapacitySearch(2, growth, precision, unit=0.001)
    run(search, edge)
    if search.held is None:
        assert search.broken is not None and search.broken > edge
    else:
        assert search.held <= edge < search.broken <= max(search.held * (1 + precision), search.held + 0.002)


def test_few_steps_are_enough() -> None:
    assert len(run(CapacitySearch(2, 1.5, 0.1), 40)) <= 12


def test_rates_are_multiples_of_what_one_user_sends() -> None:
    for rate in run(CapacitySearch(2, 1.5, 0.05, unit=0.1), 23.4):
        assert rate == round(rate, 1)


def test_nothing_above_the_most_is_tried() -> None:
    search = CapacitySearch(2, 1.5, most=10)
    assert max(run(search, 1000)) == 10
    assert search.held == 10 and search.broken is None


def test_a_server_that_holds_nothing_ends_the_search() -> None:
    search = CapacitySearch(2)
    assert len(run(search, 0)) < 6
    assert search.held is None


def test_what_holds_above_a_rate_that_broke_is_luck() -> None:
    search = CapacitySearch(2)
    search.tell(4, True)
    search.tell(3, False)
    assert (search.held, search.broken) == (None, 3)
    search.tell(5, True)
    assert search.held is None


def test_a_queue_is_found_out() -> None:
    """A server of 30 requests/s with one queue: waiting explodes near its limit, and the objective breaks before."""

    def p95(rate: float) -> float:
        rng, free, now, waits = random.Random(7), 0.0, 0.0, []
        for _ in range(4000):
            now += rng.expovariate(rate)
            free = max(free, now) + rng.expovariate(30)
            waits.append(free - now)
        return sorted(waits)[int(0.95 * len(waits))]

    search = CapacitySearch(2, 1.5, 0.05)
    while (rate := search.next()) is not None:
        search.tell(rate, p95(rate) <= 0.5)
    # M/M/1: p95 of the time in the system is ln 20 / (30 − rate)
    assert search.held == pytest.approx(30 - math.log(20) / 0.5, rel=0.12)


@pytest.mark.parametrize("wrong", [{"first": 0}, {"growth": 1}, {"precision": 0}, {"most": 1}, {"unit": 0}])
def test_what_could_not_end_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a search needs"):
        CapacitySearch(**({"first": 2} | wrong))
