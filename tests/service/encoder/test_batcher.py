from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.encoder.batcher import Batcher
from service.errors import EncoderFailed, InvalidImage
from tests.waiting import DEADLOCK, until

pytestmark = pytest.mark.anyio


class Device:
    """Answers "a" with "A"; each batch stands still until the test lets it go."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.proceed = threading.Semaphore(0)
        self.fails: Callable[[list[str]], BaseException | None] = lambda items: None

    def run(self, items: list[str]) -> list[str]:
        self.batches.append(list(items))
        self.entered.release()
        assert self.proceed.acquire(timeout=DEADLOCK)
        if (error := self.fails(items)) is not None:
            raise error
        return [item.upper() for item in items]

    async def busy(self) -> None:
        """Returns when the next batch is on the device."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=DEADLOCK)

    def open(self) -> None:
        """From now on no batch is held."""
        self.proceed.release(1000)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
async def batcher(device: Device) -> AsyncIterator[Batcher[str, str]]:
    batcher = Batcher[str, str](device.run, budget=4)
    yield batcher
    device.open()
    await batcher.close()


def submit(batcher: Batcher[str, str], item: str, cost: int = 1, bucket: str = "") -> asyncio.Task[str]:
    async def value() -> str:
        return (await batcher.submit(item, cost, bucket)).value

    return asyncio.create_task(value())


async def queued(batcher: Batcher[str, str], count: int) -> None:
    """Lets the submitting tasks run until `count` items wait."""
    await until(lambda: batcher.stats().waiting >= count)


async def test_goes_at_once_when_free_and_gathers_while_busy(
    batcher: Batcher[str, str], device: Device
) -> None:
    first = submit(batcher, "a")
    await device.busy()
    rest = [submit(batcher, item) for item in "bcdefg"]
    await queued(batcher, 6)
    device.open()
    assert await asyncio.gather(first, *rest) == list("ABCDEFG")
    assert device.batches == [["a"], list("bcde"), list("fg")]


async def test_packs_by_cost_and_bucket(batcher: Batcher[str, str], device: Device) -> None:
    blocker = submit(batcher, "blocker")
    await device.busy()
    shapes = [("a", 3, "x"), ("b", 2, "x"), ("c", 1, "y"), ("d", 1, "x"), ("e", 2, "x")]
    tasks = [submit(batcher, *shape) for shape in shapes]
    await queued(batcher, len(shapes))
    assert batcher.stats().waiting_cost == 9
    assert batcher.stats().running == 1
    device.open()
    assert await asyncio.gather(blocker, *tasks) == ["BLOCKER", *"ABCDE"]
    assert device.batches[1:] == [["a", "d"], ["b", "e"], ["c"]]


async def test_departed_callers_are_skipped_and_counted(batcher: Batcher[str, str], device: Device) -> None:
    first = submit(batcher, "a")
    await device.busy()
    stays, leaves, stays_too = (submit(batcher, item) for item in "bcd")
    await queued(batcher, 3)
    leaves.cancel()
    device.open()
    assert list(await asyncio.gather(first, stays, stays_too)) == ["A", "B", "D"]
    assert device.batches == [["a"], ["b", "d"]]
    assert batcher.stats().cancelled == 1
    assert leaves.cancelled()


async def test_a_caller_that_leaves_during_its_batch_disturbs_nobody(
    batcher: Batcher[str, str], device: Device
) -> None:
    blocker = submit(batcher, "blocker")
    await device.busy()
    leaves, stays = submit(batcher, "a"), submit(batcher, "b")
    await queued(batcher, 2)
    device.proceed.release()
    await device.busy()
    leaves.cancel()
    device.open()
    assert list(await asyncio.gather(blocker, stays)) == ["BLOCKER", "B"]
    assert await submit(batcher, "c") == "C"


@pytest.mark.parametrize("bad", "abcd")
async def test_one_bad_item_fails_alone(batcher: Batcher[str, str], device: Device, bad: str) -> None:
    device.fails = lambda items: MemoryError("no") if bad in items else None
    blocker = submit(batcher, "blocker")
    await device.busy()
    tasks = {item: submit(batcher, item) for item in "abcd"}
    await queued(batcher, 4)
    device.open()
    await blocker
    with pytest.raises(EncoderFailed, match="MemoryError") as caught:
        await tasks.pop(bad)
    assert isinstance(caught.value.__cause__, MemoryError)
    assert await asyncio.gather(*tasks.values()) == [item.upper() for item in tasks]
    assert batcher.stats().failed == 1
    assert batcher.healthy


async def test_the_error_of_a_failed_run_keeps_none_of_its_frames(
    batcher: Batcher[str, str], device: Device
) -> None:
    device.open()
    device.fails = lambda items: MemoryError("its frames would hold the batch's tensors")
    with pytest.raises(EncoderFailed) as caught:
        await batcher.submit("a", 1)
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__traceback__ is None


async def test_errors_of_the_tree_reach_the_caller_as_they_are(
    batcher: Batcher[str, str], device: Device
) -> None:
    device.open()
    device.fails = lambda items: InvalidImage("no pixels", param="messages[0]")
    with pytest.raises(InvalidImage, match="no pixels"):
        await batcher.submit("a", 1)


@pytest.mark.parametrize("error", [RuntimeError(), SystemExit(1), KeyboardInterrupt(), StopIteration()])
async def test_the_thread_outlives_every_failure_and_health_tells(
    batcher: Batcher[str, str], device: Device, error: BaseException
) -> None:
    device.open()
    assert batcher.healthy
    device.fails = lambda items: error
    with pytest.raises(EncoderFailed, match=type(error).__name__):
        await batcher.submit("a", 1)
    await batcher_is(batcher, healthy=False)
    device.fails = lambda items: None
    assert (await batcher.submit("b", 1)).value == "B"
    await batcher_is(batcher, healthy=True)


async def batcher_is(batcher: Batcher[str, str], *, healthy: bool) -> None:
    """Health is written on the device thread, a moment after the answer has left it."""
    await until(lambda: batcher.healthy is healthy)


async def test_nobody_waits_for_a_thread_that_ended(device: Device) -> None:
    ticks = iter([0.0, 1.0])

    def clock() -> float:
        if (tick := next(ticks, None)) is None:
            raise SystemExit  # on the device thread, outside of `run`
        return tick

    batcher = Batcher[str, str](device.run, budget=4, clock=clock)
    with pytest.raises(EncoderFailed, match="stopped"):
        await batcher.submit("a", 1)
    assert not batcher.healthy
    with pytest.raises(EncoderFailed, match="shutting down"):
        await batcher.submit("b", 1)


async def test_a_run_that_miscounts_fails_its_items() -> None:
    batcher = Batcher[str, str](lambda items: [], budget=4)
    with pytest.raises(EncoderFailed, match="RuntimeError"):
        await batcher.submit("a", 1)
    await batcher.close()


@pytest.mark.parametrize("cost", [0, -1, 5])
async def test_a_cost_that_no_batch_can_hold_is_refused(batcher: Batcher[str, str], cost: int) -> None:
    with pytest.raises(ValueError, match=f"budget of 4, got {cost}"):
        await batcher.submit("a", cost)


async def test_close_fails_what_waits_and_delivers_what_runs(
    batcher: Batcher[str, str], device: Device
) -> None:
    runs = submit(batcher, "a")
    await device.busy()
    waits = submit(batcher, "b")
    await queued(batcher, 1)
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(EncoderFailed, match="shutting down"):
        await waits
    device.open()
    await closing
    assert await runs == "A"
    assert device.batches == [["a"]]
    assert not batcher.healthy
    with pytest.raises(EncoderFailed, match="shutting down"):
        await batcher.submit("c", 1)


async def test_a_loop_that_was_closed_does_not_end_the_thread(
    batcher: Batcher[str, str], device: Device
) -> None:
    def give_up() -> None:
        async def ask() -> None:
            asked = submit(batcher, "a")
            await device.busy()
            asked.cancel()

        asyncio.run(ask())

    await asyncio.to_thread(give_up)
    device.open()
    assert await submit(batcher, "b") == "B"


async def test_reports_each_batch_and_each_items_times(device: Device) -> None:
    ticks = iter(range(100))
    reports: list[tuple[int, int, float, list[float]]] = []
    reported = threading.Semaphore(0)

    def on_batch(*report: int | float | list[float]) -> None:
        reports.append(report)  # type: ignore[arg-type]
        reported.release()
        raise ValueError("a hook's failure stays its own")

    batcher = Batcher[str, str](device.run, budget=4, on_batch=on_batch, clock=lambda: float(next(ticks)))
    device.open()
    reply = await batcher.submit("a", 3)
    assert (reply.value, reply.queued, reply.began, reply.ended) == ("A", 0.0, 2.0, 3.0)
    assert await asyncio.to_thread(reported.acquire, timeout=DEADLOCK)
    assert reports == [(1, 3, 3.0, [1.0])]
    assert (await batcher.submit("b", 1)).value == "B"
    await batcher.close()


async def test_tells_how_fast_its_last_batches_were(device: Device) -> None:
    clock = Clock()
    batcher = Batcher[str, str](device.run, budget=4, clock=clock)
    first = submit(batcher, "a", 4)
    await device.busy()
    rest = [submit(batcher, item, 4) for item in "bc"]
    await queued(batcher, 2)
    assert batcher.stats().speed == 0.0
    clock.now = 2.0
    device.proceed.release()
    assert await first == "A"
    await until(lambda: batcher.stats().waiting == 1)
    assert batcher.stats().speed == 2.0
    clock.now = 3.0  # twice as fast: a fifth of the way from 2 to 4
    device.proceed.release()
    await until(lambda: batcher.stats().waiting == 0)
    assert batcher.stats().speed == pytest.approx(2.4)
    device.open()
    assert await asyncio.gather(*rest) == list("BC")
    await batcher.close()


async def test_on_start_runs_on_the_device_thread() -> None:
    threads: list[int] = []
    batcher = Batcher[str, int](
        lambda items: [threading.get_ident() for _ in items],
        budget=1,
        on_start=lambda: threads.append(threading.get_ident()),
    )
    assert (await batcher.submit("a", 1)).value == threads[0] != threading.get_ident()
    await batcher.close()


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(0, 2), st.booleans()), min_size=1, max_size=30))
def test_any_sequence_is_answered_in_the_right_places(shapes: list[tuple[int, int, bool]]) -> None:
    bad = {place for place, (_, _, fails) in enumerate(shapes) if fails}
    costs = {place: cost for place, (cost, _, _) in enumerate(shapes)}
    overfull: list[list[int]] = []

    def run(items: list[int]) -> list[str]:
        if sum(costs[item] for item in items) > 7 or len({shapes[item][1] for item in items}) > 1:
            overfull.append(items)
        if bad & set(items):
            raise RuntimeError
        return [f"answer {item}" for item in items]

    async def ask_all() -> list[object]:
        batcher = Batcher[int, str](run, budget=7)
        tasks = [batcher.submit(place, cost, bucket) for place, (cost, bucket, _) in enumerate(shapes)]
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()
        return [reply if isinstance(reply, BaseException) else reply.value for reply in replies]

    answers = asyncio.run(ask_all())
    assert not overfull
    for place, answer in enumerate(answers):
        if place in bad:
            assert isinstance(answer, EncoderFailed)
        else:
            assert answer == f"answer {place}"
