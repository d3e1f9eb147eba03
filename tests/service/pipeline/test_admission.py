import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Draining, InvalidRequest, QueueFull
from service.pipeline.admission import Admission, Ewma, VisualPermit
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_the_mean_forgets_its_guess_and_then_slowly_the_past() -> None:
    measured = Ewma(first=1.0)
    measured.add(5)
    assert measured.seconds == 5
    measured.add(7)
    assert measured.seconds == 6
    for _ in range(100):
        measured.add(2)
    assert measured.seconds == pytest.approx(2, abs=0.01)


async def test_places_are_taken_and_given_back() -> None:
    admission = Admission(max_inflight=2, max_visual_tokens=10)
    async with admission.request(), admission.request():
        assert admission.inflight == 2
        with pytest.raises(QueueFull, match="2 requests, as many as"):
            async with admission.request():
                pass
    assert admission.inflight == 0
    with pytest.raises(ZeroDivisionError):
        async with admission.request():
            raise ZeroDivisionError
    assert admission.inflight == 0


async def test_retry_after_is_measured_and_spreads_the_refused() -> None:
    clock = Clock()
    admission = Admission(max_inflight=2, max_visual_tokens=10, clock=clock)
    async with admission.request():
        clock.now = 10
    async with admission.request():
        async with admission.request():
            assert [await refused(admission) for _ in range(3)] == [5, 10, 15]
            assert [await refused(admission) for _ in range(20)][-1] == 60
            clock.now = 20
        async with admission.request():
            assert await refused(admission) == 5


async def refused(admission: Admission) -> float:
    with pytest.raises(QueueFull) as full:
        async with admission.request():
            pass
    return full.value.retry_after


async def test_draining_refuses_the_new_and_waits_for_the_old() -> None:
    admission = Admission(max_inflight=2, max_visual_tokens=10)
    async with admission.request():
        admission.drain()
        idle = asyncio.create_task(admission.idle())
        with pytest.raises(Draining):
            async with admission.request():
                pass
        await turns()
        assert not idle.done() and admission.draining
    await idle


async def test_visual_tokens_are_waited_for_in_order() -> None:
    admission = Admission(max_inflight=9, max_visual_tokens=10)
    first = await admission.visual(8)
    large = asyncio.create_task(admission.visual(10))
    small = asyncio.create_task(admission.visual(1))
    await turns()
    # two are free, but the small one came after the large one
    assert (small.done(), admission.visual_reserved, admission.visual_waiting) == (False, 8, 2)
    first.release()
    first.release()
    held = await large
    assert not small.done()
    held.release()
    with await small:
        assert admission.visual_reserved == 1
    assert admission.visual_reserved == 0


async def test_one_that_gives_up_lets_the_next_in() -> None:
    admission = Admission(max_inflight=9, max_visual_tokens=10)
    first = await admission.visual(8)
    large = asyncio.create_task(admission.visual(10))
    small = asyncio.create_task(admission.visual(2))
    await turns()
    large.cancel()
    async with asyncio.timeout(DEADLOCK):
        assert (await small).tokens == 2
    first.release()
    assert admission.visual_reserved == 2


async def test_one_cancelled_in_the_turn_of_its_grant_gives_it_back() -> None:
    admission = Admission(max_inflight=9, max_visual_tokens=10)
    first = await admission.visual(10)
    waiting = asyncio.create_task(admission.visual(10))
    await turns()
    first.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert admission.visual_reserved == 0


async def test_more_than_there_is_is_refused_at_once() -> None:
    admission = Admission(max_inflight=1, max_visual_tokens=10)
    with pytest.raises(InvalidRequest, match="need 11 visual tokens; the server has 10") as refused:
        async with asyncio.timeout(DEADLOCK):
            await admission.visual(11, param="messages")
    assert refused.value.param == "messages"


async def test_only_so_many_wait() -> None:
    clock = Clock()
    admission = Admission(max_inflight=9, max_visual_tokens=10, max_waiting=1, clock=clock)
    with await admission.visual(10):
        clock.now = 4
    held = await admission.visual(10)
    waiting = asyncio.create_task(admission.visual(5))
    await turns()
    with pytest.raises(QueueFull) as full:
        await admission.visual(10)
    # 15 tokens are wanted before or by this one, and 10 are held for 4 seconds each time
    assert full.value.retry_after == pytest.approx(6)
    held.release()
    (await waiting).release()


steps = st.lists(
    st.tuples(st.sampled_from(["ask", "cancel", "release", "turn"]), st.integers(0, 12)), max_size=60
)


@given(steps)
def test_nothing_leaks_under_any_order_of_events(script: list[tuple[str, int]]) -> None:
    asyncio.run(play(script))


async def play(script: list[tuple[str, int]]) -> None:
    admission = Admission(max_inflight=9, max_visual_tokens=10, max_waiting=5)
    waiting: list[asyncio.Task[VisualPermit]] = []
    held: list[VisualPermit] = []

    def collect() -> None:
        for task in [task for task in waiting if task.done()]:
            waiting.remove(task)
            if not task.cancelled() and task.exception() is None:
                held.append(task.result())

    for step, number in script:
        collect()
        if step == "ask":
            waiting.append(asyncio.create_task(admission.visual(number)))
        elif step == "cancel" and waiting:
            waiting[number % len(waiting)].cancel()
        elif step == "release" and held:
            held.pop(number % len(held)).release()
        elif step == "turn":
            await turns(number)
        assert 0 <= admission.visual_reserved <= 10
    await turns()
    collect()
    assert admission.visual_reserved == sum(permit.tokens for permit in held)
    assert admission.visual_waiting == len(waiting)
    for _ in range(len(waiting) + 1):
        for permit in held:
            permit.release()
        held.clear()
        await turns()
        collect()
    assert (admission.visual_reserved, admission.visual_waiting, waiting) == (0, 0, [])
