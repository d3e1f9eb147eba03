"""Stages that overlap, and shares that sum."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.telemetry.timeline import OTHER, Span, StageTimings, Strand

STAGES = st.sampled_from(["fetch", "decode", "encode_queue", "encode", "transfer"])


def image(*marks: tuple[str, float], ended: float) -> tuple[Span, ...]:
    strand = Strand()
    for stage, at in marks:
        strand.enter(stage, at)
    strand.leave(ended)
    return strand.spans(-math.inf, math.inf)


@st.composite
def strands(draw: st.DrawFn, numbers: st.SearchStrategy[float]) -> tuple[Span, ...]:
    at = sorted(draw(st.lists(numbers, min_size=2, max_size=6)))
    marks = [(draw(STAGES), begin) for begin in at[:-1]]
    return image(*marks, ended=at[-1])


def test_two_images_side_by_side_count_along_the_one_that_came_last() -> None:
    timings = StageTimings(0.0)
    timings.add(Span("body", 0, 1))
    timings.add(*image(("decode", 1), ("encode_queue", 2), ("encode", 3), ("transfer", 6), ended=7))
    timings.add(*image(("decode", 1), ("encode_queue", 4), ("encode", 6), ("transfer", 9), ended=10))
    timings.add(Span("engine_first_token", 11, 15))
    assert timings.path(15) == [
        Span("body", 0, 1),
        Span("decode", 1, 4),
        Span("encode_queue", 4, 6),
        Span("encode", 6, 9),
        Span("transfer", 9, 10),
        Span(OTHER, 10, 11),
        Span("engine_first_token", 11, 15),
    ]


def test_a_stage_that_was_met_twice_counts_twice() -> None:
    timings = StageTimings(0.0)
    timings.add(Span("encode", 0, 2))
    timings.add(Span("engine_first_token", 2, 3))
    timings.add(Span("encode", 3, 7))
    assert timings.shares(8) == {"encode": 6, "engine_first_token": 1, OTHER: 1}


def test_a_request_without_stages_is_all_other() -> None:
    assert StageTimings(3.0).shares(5.0) == {OTHER: 2.0}
    assert StageTimings(3.0).shares(3.0) == {}


def test_a_block_is_timed_however_it_ends() -> None:
    now = [1.0]
    timings = StageTimings(clock=lambda: now[0])
    with pytest.raises(ZeroDivisionError), timings.stage("fetch"):
        now[0] = 4.0
        raise ZeroDivisionError
    assert timings.spans == [Span("fetch", 1, 4)]


def test_a_strand_is_seen_only_while_somebody_waits_for_it() -> None:
    strand = Strand()
    assert strand.spans(0, 9) == ()
    strand.enter("decode", 1)
    strand.enter("encode_queue", 3)
    assert strand.spans(2, 5) == (Span("decode", 2, 3), Span("encode_queue", 3, 5))
    strand.leave(4)
    assert strand.spans(2, 5) == (Span("decode", 2, 3), Span("encode_queue", 3, 4))
    assert strand.spans(3.5, 9) == (Span("encode_queue", 3.5, 4),)


@given(
    st.lists(strands(st.floats(0, 1e5)), max_size=8),
    st.floats(0, 1e5),
    st.floats(0, 1e5),
)
def test_the_shares_sum_to_the_total(work: list[tuple[Span, ...]], began: float, seconds: float) -> None:
    timings = StageTimings(began)
    for spans in work:
        timings.add(*spans)
    ended = began + seconds
    shares = timings.shares(ended)
    assert math.isclose(math.fsum(shares.values()), ended - began, rel_tol=1e-9, abs_tol=1e-9)
    assert all(share >= 0 for share in shares.values())


@given(st.lists(strands(st.integers(0, 30).map(float)), max_size=6), st.integers(0, 40).map(float), STAGES)
def test_one_share_is_that_of_all_shares(work: list[tuple[Span, ...]], ended: float, stage: str) -> None:
    timings = StageTimings(0.0)
    for strand in work:
        timings.add(*strand)
    assert timings.share(stage, ended) == timings.shares(ended).get(stage, 0.0)


@given(st.lists(strands(st.integers(0, 30).map(float)), max_size=6), st.integers(0, 40).map(float))
def test_every_instant_is_in_one_stage_that_was_on_its_way(
    work: list[tuple[Span, ...]], ended: float
) -> None:
    timings = StageTimings(2.0)
    for spans in work:
        timings.add(*spans)
    path = timings.path(ended)
    edges = [2.0, *(span.end for span in path)]
    assert [span.begin for span in path] == edges[:-1]
    assert edges[-1] == max(ended, 2.0)
    for instant in (half / 2 for half in range(5, 2 * int(ended), 2)):
        (stage,) = [span.stage for span in path if span.begin < instant < span.end]
        covering = {span.stage for span in timings.spans if span.begin < instant < span.end}
        assert stage in covering if covering else stage == OTHER
