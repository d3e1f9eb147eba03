"""Small work overtakes large work, within bounds; no place is lost, and none is used twice."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.decode.turns import Turns

pytestmark = pytest.mark.anyio
HANG = 20
"""Seconds that mean that it will never happen."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Queue:
    """One place, taken; who asks for it, and in which order they get it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.turns = Turns(["place"], clock=self.clock)
        self.served: list[str] = []
        self.asking: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, patience: float, at: float) -> None:
        async def work() -> None:
            place = await self.turns.take(patience)
            self.served.append(name)
            self.turns.give_back(place)

        self.clock.now = at
        self.asking[name] = asyncio.create_task(work())
        await asyncio.sleep(0)

    async def serve(self) -> list[str]:
        self.turns.give_back("place")
        return await self.end()

    async def end(self) -> list[str]:
        async with asyncio.timeout(HANG):
            await asyncio.gather(*self.asking.values(), return_exceptions=True)
        return self.served


async def test_small_ones_pass_a_large_one_until_its_patience_ends() -> None:
    queue = Queue()
    assert await queue.turns.take(1) == "place"
    await queue.ask("large", 5.0, at=0)
    await queue.ask("soon", 0.1, at=1)
    await queue.ask("late", 0.1, at=4.95)
    await queue.ask("other large", 5.0, at=0.5)
    assert await queue.serve() == ["soon", "large", "late", "other large"]


async def test_equals_come_in_the_order_of_their_arrival() -> None:
    queue = Queue()
    await queue.turns.take(1)
    for name in "abc":
        await queue.ask(name, 1.0, at=0)
    assert await queue.serve() == ["a", "b", "c"]


async def test_who_leaves_while_waiting_takes_no_place() -> None:
    queue = Queue()
    await queue.turns.take(1)
    for name in "abc":
        await queue.ask(name, 1.0, at=0)
    queue.asking["a"].cancel()
    await asyncio.sleep(0)
    assert await queue.serve() == ["b", "c"]
    assert await queue.turns.take(1) == "place"


async def test_who_leaves_at_the_moment_of_its_turn_hands_it_on() -> None:
    queue = Queue()
    await queue.turns.take(1)
    await queue.ask("a", 1.0, at=0)
    await queue.ask("b", 1.0, at=0)
    queue.turns.give_back("place")  # to a, which has not yet run
    queue.asking["a"].cancel()
    assert await queue.end() == ["b"]
    assert await queue.turns.take(1) == "place"


async def test_the_last_place_is_kept_for_brief_work() -> None:
    turns = Turns([1, 2, 3], brief=0.5, kept=1)
    first, second = await turns.take(9), await turns.take(9)
    third = asyncio.create_task(turns.take(0.6))
    await asyncio.sleep(0)
    brief = await turns.take(0.5)
    assert {first, second, brief} == {1, 2, 3} and not third.done()
    turns.give_back(brief)
    await asyncio.sleep(0)
    assert not third.done()
    turns.give_back(first)
    assert await third == first
    assert await turns.take(0.1) == brief


async def test_brief_work_may_use_every_place_and_long_work_waits_for_its_turn_among_it() -> None:
    clock = Clock()
    turns = Turns([1, 2], brief=0.5, kept=1, clock=clock)
    taken = [await turns.take(0.5), await turns.take(0.5)]
    long = asyncio.create_task(turns.take(2))
    await asyncio.sleep(0)
    clock.now = 1.9
    late = asyncio.create_task(turns.take(0.5))
    await asyncio.sleep(0)
    turns.give_back(taken[0])
    assert await long == taken[0] and not late.done()
    turns.give_back(taken[1])
    assert await late == taken[1]


async def test_a_long_one_that_left_holds_no_place_back() -> None:
    turns = Turns([1, 2], brief=0.5, kept=1)
    first = await turns.take(9)
    waiting = [asyncio.create_task(turns.take(9)) for _ in range(2)]
    await asyncio.sleep(0)
    turns.give_back(first)  # to the first of them, which leaves before it runs
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert await waiting[1] == first


@pytest.mark.parametrize(("places", "kept"), [(1, 1), (2, 2), (0, 1)])
def test_places_that_are_all_kept_are_refused(places: int, kept: int) -> None:
    with pytest.raises(ValueError, match="none is left"):
        Turns(range(places), kept=kept)


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=12), st.integers(1, 3), st.booleans())
def test_no_place_is_lost_or_used_twice(asked: list[tuple[float, bool]], count: int, keeps: bool) -> None:
    async def run() -> None:
        turns = Turns(range(count), brief=5.0, kept=int(keeps and count > 1))
        used, most = set[int](), 0

        async def work(patience: float) -> None:
            nonlocal most
            place = await turns.take(patience)
            assert place not in used
            used.add(place)
            most = max(most, len(used))
            try:
                await asyncio.sleep(0)
            finally:
                used.remove(place)
                turns.give_back(place)

        tasks = [asyncio.create_task(work(patience)) for patience, _ in asked]
        await asyncio.sleep(0)
        waiting = tasks[count:]
        for task, (_, leaves) in zip(waiting, asked[count:], strict=True):
            if leaves:
                task.cancel()
        async with asyncio.timeout(HANG):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
        assert most <= count
        assert {await turns.take(1) for _ in range(count)} == set(range(count))

    asyncio.run(run())
