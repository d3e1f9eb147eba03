from __future__ import annotations

import asyncio

import pytest

from service.encoder.single_flight import Flights

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


class Caller:
    def __init__(self, flights: Flights[int], work: Work, key: str = "k") -> None:
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._wait(flights, work, key))

    async def _wait(self, flights: Flights[int], work: Work, key: str) -> int:
        async with flights.join(key, work.run) as result:
            await self.leave.wait()
            return result


@pytest.fixture
def discarded() -> list[int]:
    return []


@pytest.fixture
def flights(discarded: list[int]) -> Flights[int]:
    return Flights(discarded.append)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_who_come_while_it_runs_share_it(flights: Flights[int], discarded: list[int]) -> None:
    work = Work()
    first, second, other = Caller(flights, work), Caller(flights, work), Caller(flights, work, "o")
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


async def test_it_outlives_the_one_who_started_it(flights: Flights[int], discarded: list[int]) -> None:
    work = Work()
    first, second = Caller(flights, work), Caller(flights, work)
    await settle()
    first.task.cancel()
    await settle()
    work.proceed.set()
    second.leave.set()
    assert await second.task == 1
    assert (work.cancelled, discarded) == (0, [1])


async def test_it_is_cancelled_when_the_last_one_leaves_and_the_next_starts_anew(
    flights: Flights[int], discarded: list[int]
) -> None:
    work = Work()
    leaving = [Caller(flights, work), Caller(flights, work)]
    await settle()
    for caller in leaving:
        caller.task.cancel()
    # the cancelled work has not ended yet when the next one comes
    await asyncio.sleep(0)
    late = Caller(flights, work)
    await settle()
    assert (work.starts, work.cancelled) == (2, 1)
    work.proceed.set()
    late.leave.set()
    assert await late.task == 2
    assert discarded == [2]


async def test_a_result_that_comes_as_the_last_one_leaves_is_discarded(
    flights: Flights[int], discarded: list[int]
) -> None:
    work = Work()
    caller = Caller(flights, work)
    await settle()
    work.proceed.set()
    await asyncio.sleep(0)  # the work ends; its waiter has not been told yet
    caller.task.cancel()
    await settle()
    assert caller.task.cancelled()
    assert discarded == [1]


async def test_an_error_reaches_everybody_and_the_next_starts_anew(
    flights: Flights[int], discarded: list[int]
) -> None:
    work = Work()
    work.error = ValueError("broken")
    both = [Caller(flights, work), Caller(flights, work)]
    await settle()
    work.proceed.set()
    for caller in both:
        with pytest.raises(ValueError, match="broken"):
            await caller.task
    work.error = None
    late = Caller(flights, work)
    late.leave.set()
    assert await late.task == 2
    assert discarded == [2]


async def test_landed_waits_for_what_runs(flights: Flights[int]) -> None:
    work = Work()
    caller = Caller(flights, work)
    await settle()
    landed = asyncio.create_task(flights.landed())
    await settle()
    assert not landed.done()
    work.proceed.set()
    await landed
    caller.leave.set()
    assert await caller.task == 1
