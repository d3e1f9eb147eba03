from __future__ import annotations

import asyncio

import pytest

from service.encoder.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


class Work:
    """Counts its starts and stands still until the test lets it go."""

    def __init__(self) -> None:
        self.starts = 0
        self.cancelled = 0
        self.proceed = asyncio.Event()
        self.error: Exception | None = None

    async def run(self) -> int:
        self.starts += 1
        number = self.starts
        try:
            await self.proceed.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


class Waiter:
    def __init__(self, calls: SingleFlight[int], work: Work, key: str = "k") -> None:
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._wait(calls, work, key))

    async def _wait(self, calls: SingleFlight[int], work: Work, key: str) -> int:
        async with calls.join(key, work.run) as result:
            await self.leave.wait()
            return result


@pytest.fixture
def discarded() -> list[int]:
    return []


@pytest.fixture
def calls(discarded: list[int]) -> SingleFlight[int]:
    return SingleFlight(discarded.append)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_who_come_while_it_runs_share_it(calls: SingleFlight[int], discarded: list[int]) -> None:
    work = Work()
    first, second, other = Waiter(calls, work), Waiter(calls, work), Waiter(calls, work, "o")
    await settle()
    assert work.starts == 2
    work.proceed.set()
    first.leave.set()
    assert await first.task == 1
    assert discarded == []
    second.leave.set()
    assert await second.task == 1
    assert discarded == [1]
    other.leave.set()
    assert await other.task == 2


async def test_it_outlives_the_one_who_started_it(calls: SingleFlight[int], discarded: list[int]) -> None:
    work = Work()
    first, second = Waiter(calls, work), Waiter(calls, work)
    await settle()
    first.task.cancel()
    await settle()
    work.proceed.set()
    second.leave.set()
    assert await second.task == 1
    assert (work.cancelled, discarded) == (0, [1])


async def test_it_is_cancelled_when_the_last_one_leaves_and_the_next_starts_anew(
    calls: SingleFlight[int], discarded: list[int]
) -> None:
    work = Work()
    leaving = [Waiter(calls, work), Waiter(calls, work)]
    await settle()
    for waiter in leaving:
        waiter.task.cancel()
    # the cancelled work has not ended yet when the next one comes
    await asyncio.sleep(0)
    late = Waiter(calls, work)
    await settle()
    assert (work.starts, work.cancelled) == (2, 1)
    work.proceed.set()
    late.leave.set()
    assert await late.task == 2
    assert discarded == [2]


async def test_a_result_that_comes_as_the_last_one_leaves_is_discarded(
    calls: SingleFlight[int], discarded: list[int]
) -> None:
    work = Work()
    waiter = Waiter(calls, work)
    await settle()
    work.proceed.set()
    await asyncio.sleep(0)  # the work ends; its waiter has not been told yet
    waiter.task.cancel()
    await settle()
    assert waiter.task.cancelled()
    assert discarded == [1]


async def test_an_error_reaches_everybody_and_the_next_starts_anew(
    calls: SingleFlight[int], discarded: list[int]
) -> None:
    work = Work()
    work.error = ValueError("broken")
    both = [Waiter(calls, work), Waiter(calls, work)]
    await settle()
    work.proceed.set()
    for waiter in both:
        with pytest.raises(ValueError, match="broken"):
            await waiter.task
    work.error = None
    late = Waiter(calls, work)
    late.leave.set()
    assert await late.task == 2
    assert discarded == [2]


async def test_settled_waits_for_what_runs(calls: SingleFlight[int]) -> None:
    work = Work()
    waiter = Waiter(calls, work)
    await settle()
    landed = asyncio.create_task(calls.settled())
    await settle()
    assert not landed.done()
    work.proceed.set()
    await landed
    waiter.leave.set()
    assert await waiter.task == 1
