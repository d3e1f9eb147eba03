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
        self.turns = Turns(["place"], self.clock)
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


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=12), st.integers(1, 3))
def test_no_place_is_lost_or_used_twice(asked: list[tuple[float, bool]], count: int) -> None:
    async def run() -> None:
        turns, used, most = Turns(range(count)), set[int](), 0

        async def work(patience: float) -> None:
            nonlocal most
            place = await turns.take(patience)
            assert place not in used
            used.add(place)
            most = max(most, len(used))
            await asyncio.sleep(0)
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
