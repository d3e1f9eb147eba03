import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import ANYBODY, Caller
from service.errors import Draining, InvalidRequest, QueueFull, RateLimited
from service.pipeline.admission import Admission, Ewma, Visit, VisualPermit
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


@contextmanager
def inside(admission: Admission, caller: Caller = ANYBODY) -> Iterator[Visit]:
    """A request whose body has arrived."""
    with admission.visit(caller) as visit:
        visit.enter()
        yield visit


def test_places_are_taken_and_given_back() -> None:
    admission = Admission(max_inflight=2, max_visual_tokens=10)
    with inside(admission), inside(admission):
        assert admission.inflight == 2
        with pytest.raises(QueueFull, match="2 requests, as many as"), inside(admission):
            pass
    assert admission.inflight == 0
    with pytest.raises(ZeroDivisionError), inside(admission):
        raise ZeroDivisionError
    assert (admission.inflight, admission.arriving) == (0, 0)


def test_a_body_that_arrives_takes_no_request_s_place() -> None:
    admission = Admission(max_inflight=1, max_visual_tokens=10, max_bodies=2)
    with admission.visit() as slow, admission.visit():
        assert (admission.arriving, admission.inflight) == (2, 0)
        with pytest.raises(QueueFull, match="receiving 2 request bodies"), admission.visit():
            pass
        slow.enter()
        assert (admission.arriving, admission.inflight) == (1, 1)
    assert (admission.arriving, admission.inflight) == (0, 0)


def test_a_body_that_could_not_be_answered_is_not_read() -> None:
    admission = Admission(max_inflight=1, max_visual_tokens=10)
    with inside(admission), pytest.raises(QueueFull, match="answering 1 requests"), admission.visit():
        pass
    assert admission.arriving == 0


def test_a_place_that_went_to_another_meanwhile_is_refused_on_entering() -> None:
    admission = Admission(max_inflight=1, max_visual_tokens=10, max_bodies=2)
    with admission.visit() as first, admission.visit() as second:
        first.enter()
        with pytest.raises(QueueFull):
            second.enter()
    assert (admission.arriving, admission.inflight) == (0, 0)


def test_retry_after_is_measured_and_spreads_the_refused() -> None:
    clock = Clock()
    admission = Admission(max_inflight=2, max_visual_tokens=10, clock=clock)
    with inside(admission):
        clock.now = 10
    with inside(admission):
        with inside(admission):
            assert [refused(admission) for _ in range(3)] == [5, 10, 15]
            assert [refused(admission) for _ in range(20)][-1] == 60
            clock.now = 20
        with inside(admission):
            assert refused(admission) == 5


def refused(admission: Admission) -> float:
    with pytest.raises(QueueFull) as full, admission.visit():
        pass
    return full.value.retry_after


async def test_draining_refuses_the_new_and_waits_for_the_old() -> None:
    admission = Admission(max_inflight=2, max_visual_tokens=10)
    with admission.visit() as begun:
        admission.drain()
        idle = asyncio.create_task(admission.idle())
        with pytest.raises(Draining), admission.visit():
            pass
        begun.enter()
        await turns()
        assert not idle.done() and admission.draining
    await idle


def test_each_caller_has_bounds_of_its_own() -> None:
    admission = Admission(max_inflight=9, max_visual_tokens=10)
    caller = Caller(name="a", max_requests=2, max_bodies=1)
    with inside(admission, caller), inside(admission, caller):
        with pytest.raises(QueueFull, match="2 requests are in progress with this API key"):
            admission.visit(caller).__enter__()
        with inside(admission, Caller(name="b")):
            pass
    with admission.visit(caller):
        with pytest.raises(QueueFull, match="1 request bodies are arriving with this API key"):
            admission.visit(caller).__enter__()
        with admission.visit(Caller(name="b")):
            pass


def test_bodies_that_are_refused_count_among_the_requests_of_a_minute() -> None:
    admission, caller = (
        Admission(max_inflight=9, max_visual_tokens=1),
        Caller(name="a", requests_per_minute=3),
    )
    with pytest.raises(InvalidRequest), admission.visit(caller):
        raise InvalidRequest("not JSON")
    with admission.visit(caller):
        pass  # the client left before its body had arrived
    with inside(admission, caller):
        pass
    with pytest.raises(RateLimited), admission.visit(caller):
        pass


def test_what_is_told_to_come_back_does_not_count_among_the_requests_of_a_minute() -> None:
    admission = Admission(max_inflight=9, max_visual_tokens=1)
    caller = Caller(name="a", requests_per_minute=2, max_requests=1)
    with admission.visit(caller) as late, inside(admission, caller), pytest.raises(QueueFull):
        late.enter()
    with inside(admission, caller):
        pass
    with pytest.raises(RateLimited), admission.visit(caller):
        pass


def test_a_rate_is_refused_with_the_time_to_come_back() -> None:
    clock = Clock()
    admission = Admission(max_inflight=9, max_visual_tokens=10, clock=clock)
    caller = Caller(name="a", requests_per_minute=2)
    for _ in range(2):
        with inside(admission, caller):
            pass
    with pytest.raises(RateLimited, match="2 requests a minute") as limited, admission.visit(caller):
        pass
    assert limited.value.retry_after == pytest.approx(30)
    clock.now += 30
    with inside(admission, caller):
        pass


def test_a_greedy_caller_leaves_places_to_the_others() -> None:
    admission = Admission(max_inflight=8, max_visual_tokens=10, max_bodies=8, shared=lambda: True)
    greedy, polite = Caller(name="greedy"), Caller(name="polite")
    with ExitStack() as held:
        for _ in range(7):
            held.enter_context(inside(admission, greedy))
        with pytest.raises(
            QueueFull, match="7 requests are in progress with this API key, which is its share"
        ):
            admission.visit(greedy).__enter__()
        with inside(admission, polite):
            assert admission.inflight == 8


def test_requests_are_ranked_between_callers() -> None:
    admission = Admission(max_inflight=90, max_visual_tokens=10)
    greedy, polite = Caller(name="greedy"), Caller(name="polite")
    with ExitStack() as held:
        ranks = [held.enter_context(inside(admission, greedy)).rank for _ in range(20)]
        assert ranks == sorted(set(ranks))
        assert held.enter_context(inside(admission, polite)).rank < ranks[1]


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


async def test_visual_tokens_are_waited_for_by_rank() -> None:
    admission = Admission(max_inflight=9, max_visual_tokens=10)
    first = await admission.visual(10)
    late = asyncio.create_task(admission.visual(10, rank=9))
    await turns()
    early = asyncio.create_task(admission.visual(10, rank=3))
    await turns()
    first.release()
    (await early).release()
    (await late).release()


async def test_a_caller_at_its_own_bound_does_not_keep_the_others_waiting() -> None:
    admission = Admission(max_inflight=9, max_visual_tokens=10)
    bounded = Caller(name="a", max_visual_tokens=4)
    held = await admission.visual(3, caller=bounded)
    second = asyncio.create_task(admission.visual(3, caller=bounded))
    await turns()
    (await admission.visual(7, caller=Caller(name="b"), rank=5)).release()
    assert not second.done()
    held.release()
    (await second).release()
    with pytest.raises(InvalidRequest, match="need 5 visual tokens; this API key may use 4 at once"):
        await admission.visual(5, caller=bounded)
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
