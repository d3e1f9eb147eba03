"""Short work overtakes long work, within bounds; no worker is lost, and none serves two callers at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.decode.deadline_queue import DeadlineQueue
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Queue:
    """One worker, taken; who asks for it, and in which order they get it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.workers = DeadlineQueue(["worker"], clock=self.clock)
        self.served: list[str] = []
        self.asking: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, patience: float, at: float) -> None:
        async def work() -> None:
            worker = await self.workers.acquire(patience)
            self.served.append(name)
            self.workers.release(worker)

        self.clock.now = at
        self.asking[name] = asyncio.create_task(work())
        await asyncio.sleep(0)

    async def serve(self) -> list[str]:
        self.workers.release("worker")
        return await self.end()

    async def end(self) -> list[str]:
        async with asyncio.timeout(DEADLOCK):
            await asyncio.gather(*self.asking.values(), return_exceptions=True)
        return self.served


async def test_small_ones_pass_a_large_one_until_its_patience_ends() -> None:
    queue = Queue()
    assert await queue.workers.acquire(1) == "worker"
    await queue.ask("large", 5.0, at=0)
    await queue.ask("soon", 0.1, at=1)
    await queue.ask("late", 0.1, at=4.95)
    await queue.ask("other large", 5.0, at=0.5)
    assert await queue.serve() == ["soon", "large", "late", "other large"]


async def test_equals_come_in_the_order_of_their_arrival() -> None:
    queue = Queue()
    await queue.workers.acquire(1)
    for name in "abc":
        await queue.ask(name, 1.0, at=0)
    assert await queue.serve() == ["a", "b", "c"]


async def test_a_caller_that_leaves_while_waiting_takes_no_worker() -> None:
    queue = Queue()
    await queue.workers.acquire(1)
    for name in "abc":
        await queue.ask(name, 1.0, at=0)
    queue.asking["a"].cancel()
    await asyncio.sleep(0)
    assert await queue.serve() == ["b", "c"]
    assert await queue.workers.acquire(1) == "worker"


async def test_a_caller_that_leaves_as_its_turn_comes_hands_the_worker_on() -> None:
    queue = Queue()
    await queue.workers.acquire(1)
    await queue.ask("a", 1.0, at=0)
    await queue.ask("b", 1.0, at=0)
    queue.workers.release("worker")  # to a, which has not yet run
    queue.asking["a"].cancel()
    assert await queue.end() == ["b"]
    assert await queue.workers.acquire(1) == "worker"


async def test_the_last_worker_is_reserved_for_short_work() -> None:
    workers = DeadlineQueue([1, 2, 3], short=0.5, reserved=1)
    first, second = await workers.acquire(9), await workers.acquire(9)
    third = asyncio.create_task(workers.acquire(0.6))
    await asyncio.sleep(0)
    short = await workers.acquire(0.5)
    assert {first, second, short} == {1, 2, 3} and not third.done()
    workers.release(short)
    await asyncio.sleep(0)
    assert not third.done()
    workers.release(first)
    assert await third == first
    assert await workers.acquire(0.1) == short


async def test_short_work_may_use_every_worker_and_long_work_waits_for_its_turn_among_it() -> None:
    clock = Clock()
    workers = DeadlineQueue([1, 2], short=0.5, reserved=1, clock=clock)
    taken = [await workers.acquire(0.5), await workers.acquire(0.5)]
    long = asyncio.create_task(workers.acquire(2))
    await asyncio.sleep(0)
    clock.now = 1.9
    late = asyncio.create_task(workers.acquire(0.5))
    await asyncio.sleep(0)
    workers.release(taken[0])
    assert await long == taken[0] and not late.done()
    workers.release(taken[1])
    assert await late == taken[1]


async def test_a_long_one_that_left_holds_no_worker_back() -> None:
    workers = DeadlineQueue([1, 2], short=0.5, reserved=1)
    first = await workers.acquire(9)
    waiting = [asyncio.create_task(workers.acquire(9)) for _ in range(2)]
    await asyncio.sleep(0)
    workers.release(first)  # to the first of them, which leaves before it runs
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert await waiting[1] == first


@pytest.mark.parametrize(("workers", "reserved"), [(1, 1), (2, 2), (0, 1)])
def test_workers_that_are_all_reserved_are_refused(workers: int, reserved: int) -> None:
    with pytest.raises(ValueError, match="none is left"):
        DeadlineQueue(range(workers), reserved=reserved)


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=12), st.integers(1, 3), st.booleans())
def test_no_worker_is_lost_or_serves_two_at_once(
    asked: list[tuple[float, bool]], count: int, keeps: bool
) -> None:
    async def run() -> None:
        workers = DeadlineQueue(range(count), short=5.0, reserved=int(keeps and count > 1))
        used, most = set[int](), 0

        async def work(patience: float) -> None:
            nonlocal most
            worker = await workers.acquire(patience)
            assert worker not in used
            used.add(worker)
            most = max(most, len(used))
            try:
                await asyncio.sleep(0)
            finally:
                used.remove(worker)
                workers.release(worker)

        tasks = [asyncio.create_task(work(patience)) for patience, _ in asked]
        await asyncio.sleep(0)
        waiting = tasks[count:]
        for task, (_, leaves) in zip(waiting, asked[count:], strict=True):
            if leaves:
                task.cancel()
        async with asyncio.timeout(DEADLOCK):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
        assert most <= count
        assert {await workers.acquire(1) for _ in range(count)} == set(range(count))

    asyncio.run(run())
