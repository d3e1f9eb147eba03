"""A deadline that is entered again and again: cancels what waits for too long, and nothing else."""

import asyncio
import time

import pytest

from service.deadline import Deadline

pytestmark = pytest.mark.anyio
HOUR = 3600


async def test_a_block_that_waits_for_too_long_is_cancelled_and_so_are_later_ones() -> None:
    deadline = Deadline(time.monotonic())
    for _ in range(2):
        with pytest.raises(TimeoutError), deadline:
            await asyncio.Event().wait()
    current = asyncio.current_task()
    assert deadline.over and current is not None and not current.cancelling()


async def test_what_does_not_wait_is_not_cancelled() -> None:
    deadline = Deadline(time.monotonic() - HOUR)
    with deadline:
        pass
    # the timer strikes between two blocks
    for _ in range(3):
        await asyncio.sleep(0)
    with deadline:
        pass
    deadline.close()


async def test_one_timer_for_many_blocks_and_none_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, made = asyncio.get_running_loop(), []
    call_at = loop.call_at

    def counted(*args: object) -> asyncio.TimerHandle:
        made.append(call_at(*args))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(loop, "call_at", counted)
    deadline = Deadline(time.monotonic() + HOUR)
    for _ in range(10):
        with deadline:
            pass
    deadline.close()
    deadline.close()
    assert len(made) == 1 and made[0].cancelled() and not deadline.over


async def test_who_is_cancelled_by_others_is_cancelled() -> None:
    deadline, waiting = Deadline(time.monotonic() + HOUR), asyncio.Event()

    async def work() -> None:
        with deadline:
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadline.close()


async def test_cancelled_by_others_at_the_same_moment() -> None:
    deadline = Deadline(time.monotonic())

    async def work() -> None:
        with deadline:
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    # the loop's next turn has both: the cancellation from outside and the timer
    with pytest.raises((asyncio.CancelledError, TimeoutError)):
        await task
    assert task.cancelled() or not task.cancelling()


async def test_an_error_of_the_block_is_the_block_s() -> None:
    deadline = Deadline(time.monotonic() + HOUR)
    with pytest.raises(ValueError), deadline:
        raise ValueError
    deadline.close()
