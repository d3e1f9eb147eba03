"""How callers share: places, order and rate, on a clock that the test moves."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from service.domain import Caller, Priority
from service.pipeline.fairness import BATCH, MEMORY, FairOrder, FairPlaces, RateLimit

GREEDY, POLITE = Caller(name="greedy"), Caller(name="polite")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def fill(places: FairPlaces, caller: Caller) -> int:
    """Takes all that the caller may have; how many it has then."""
    while places.admits(caller):
        places.take(caller)
    return places.of(caller)


def shared(capacity: int, clock: Clock | None = None) -> FairPlaces:
    return FairPlaces(capacity, shared=lambda: True, clock=clock or Clock())


def test_a_single_caller_gets_every_place() -> None:
    places = FairPlaces(8)
    assert fill(places, GREEDY) == 8
    places.give_back(GREEDY)
    assert places.admits(GREEDY)


def test_alone_among_several_keys_it_gets_all_but_the_headroom() -> None:
    assert fill(shared(256), GREEDY) == 256 - 16
    assert fill(shared(12), GREEDY) == 11


def test_a_polite_caller_finds_a_place_whatever_the_greedy_one_does() -> None:
    places = shared(64)
    for _ in range(1000):
        fill(places, GREEDY)
        assert places.admits(POLITE)
        places.take(POLITE)
        places.give_back(POLITE)
        places.give_back(GREEDY)


def test_places_that_a_polite_caller_does_not_need_are_not_kept_for_it() -> None:
    places = shared(256)
    places.take(POLITE)
    assert fill(places, GREEDY) > 200


def test_two_greedy_callers_end_at_their_weights() -> None:
    places = shared(120)
    heavy, light = Caller(name="heavy", weight=2), Caller(name="light", weight=1)
    fill(places, light)
    for _ in range(2000):
        fill(places, heavy)
        fill(places, light)
        # whoever holds more gives back more
        places.give_back(heavy if places.of(heavy) > 2 * places.of(light) else light)
    assert 75 <= places.of(heavy) <= 82
    assert 36 <= places.of(light) <= 42


def test_who_has_not_asked_for_a_while_is_not_counted_on() -> None:
    clock = Clock()
    places = shared(64, clock)
    for _ in range(20):
        places.take(POLITE)
    for _ in range(20):
        places.give_back(POLITE)
    held = fill(places, GREEDY)
    assert held < 45
    clock.now += MEMORY + 1
    assert fill(places, GREEDY) == 60


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.floats(0, 30)), max_size=200))
def test_counts_are_exact_and_never_exceed_the_capacity(script: list[tuple[str, bool, float]]) -> None:
    clock = Clock()
    places = shared(10, clock)
    held: Counter[str] = Counter()
    for name, enters, seconds in script:
        clock.now += seconds
        caller = Caller(name=name, weight=ord(name) - 96)
        if enters and places.admits(caller):
            places.take(caller)
            held[name] += 1
        elif not enters and held[name]:
            places.give_back(caller)
            held[name] -= 1
        assert places.taken == sum(held.values()) <= 10
        assert places.of(caller) == held[name]


def tags(order: FairOrder, caller: Caller, count: int) -> list[float]:
    return [order.enter(caller) for _ in range(count)]


def test_a_long_queue_does_not_delay_a_short_one() -> None:
    order = FairOrder()
    backlog = tags(order, GREEDY, 100)
    order.leave(backlog[0])
    assert order.enter(POLITE) < backlog[2]


def test_within_one_caller_it_is_first_come_first_served() -> None:
    order = FairOrder()
    waiting = tags(order, GREEDY, 10)
    for _ in range(100):
        assert waiting == sorted(waiting)
        order.leave(waiting.pop(0))
        waiting.append(order.enter(GREEDY))


def test_weights_are_shares_of_the_order() -> None:
    order = FairOrder()
    heavy, light = Caller(name="heavy", weight=3), Caller(name="light")
    queue = sorted(
        [(tag, "heavy") for tag in tags(order, heavy, 300)]
        + [(tag, "light") for tag in tags(order, light, 300)]
    )
    assert 70 <= Counter(name for _, name in queue[:100])["heavy"] <= 80


def test_nobody_saves_up_for_later() -> None:
    order = FairOrder()
    for _ in range(500):
        order.leave(order.enter(GREEDY))
        inside = order.enter(GREEDY)
        late = order.enter(POLITE)
        assert late >= inside - 1
        order.leave(inside)
        order.leave(late)


def test_batch_comes_behind_every_interactive_request() -> None:
    batch = Caller(name="b", priority=Priority.BATCH)
    assert FairOrder.rank(0, batch) == BATCH > FairOrder.rank(1e9, GREEDY)
    assert FairOrder.rank(0.5, GREEDY) < FairOrder.rank(1.0, GREEDY)


def test_a_rate_allows_a_minutes_worth_at_once_and_then_one_by_one() -> None:
    clock = Clock()
    rate, caller = RateLimit(clock), Caller(name="a", requests_per_minute=6)
    for _ in range(6):
        assert rate.wait(caller) == 0
        rate.count(caller)
    assert rate.wait(caller) == 10
    clock.now += 9
    assert rate.wait(caller) == 1
    clock.now += 1
    assert rate.wait(caller) == 0
    rate.count(caller)
    assert rate.wait(caller) == 10


def test_callers_without_a_rate_are_not_counted() -> None:
    rate = RateLimit(Clock())
    for _ in range(1000):
        rate.count(GREEDY)
    assert rate.wait(GREEDY) == 0


@given(st.integers(1, 1000), st.lists(st.floats(0, 10), min_size=1, max_size=300))
def test_no_minute_sees_more_than_two_minutes_worth(limit: int, pauses: list[float]) -> None:
    """The bucket's worth, and what flows in meanwhile."""
    clock = Clock()
    rate, caller = RateLimit(clock), Caller(name="a", requests_per_minute=limit)
    sent: list[float] = []
    for pause in pauses:
        clock.now += pause
        if rate.wait(caller) == 0:
            rate.count(caller)
            sent.append(clock.now)
    for begin in sent:
        assert sum(begin <= at < begin + 60 for at in sent) <= 2 * limit + 1
