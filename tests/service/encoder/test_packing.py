from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.encoder.packing import Entry, pack

BUDGET = 10
entries_of = st.lists(st.tuples(st.integers(1, BUDGET), st.sampled_from(["square", "wide"])), max_size=40)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def entry(loop: asyncio.AbstractEventLoop, item: Any, cost: int, bucket: str = "") -> Entry[Any, Any]:
    return Entry(item, cost, bucket, loop.create_future(), queued=0.0)


def items(entries: list[Entry[Any, Any]]) -> list[Any]:
    return [entry.item for entry in entries]


def test_a_small_late_item_fills_the_room_that_a_large_one_leaves(loop: asyncio.AbstractEventLoop) -> None:
    waiting = [entry(loop, name, cost) for name, cost in [("a", 6), ("b", 7), ("c", 3), ("d", 2)]]
    batch, rest = pack(waiting, BUDGET)
    assert items(batch) == ["a", "c"]
    assert items(rest) == ["b", "d"]


def test_the_oldest_item_decides_the_bucket(loop: asyncio.AbstractEventLoop) -> None:
    shapes = [("a", "wide"), ("b", "square"), ("c", "wide"), ("d", "square")]
    batch, rest = pack([entry(loop, name, 1, shape) for name, shape in shapes], BUDGET)
    assert items(batch) == ["a", "c"]
    assert items(rest) == ["b", "d"]


@given(entries_of)
def test_draining_serves_everybody_once_within_the_budget(
    loop: asyncio.AbstractEventLoop, shapes: list[tuple[int, str]]
) -> None:
    rest = [entry(loop, place, cost, bucket) for place, (cost, bucket) in enumerate(shapes)]
    served: list[Any] = []
    while rest:
        batch, rest = pack(rest, BUDGET)
        assert 1 <= sum(taken.cost for taken in batch) <= BUDGET
        assert len({taken.bucket for taken in batch}) == 1
        assert items(batch) == sorted(items(batch))
        served += items(batch)
    assert sorted(served) == list(range(len(shapes)))


@given(entries_of, st.integers(1, BUDGET), st.lists(entries_of, min_size=45, max_size=45))
def test_newcomers_starve_nobody(
    loop: asyncio.AbstractEventLoop,
    before: list[tuple[int, str]],
    cost: int,
    later: list[list[tuple[int, str]]],
) -> None:
    patient = entry(loop, "patient", cost, "square")
    rest = [entry(loop, "before", *shape) for shape in before] + [patient]
    for arrivals in later[: len(before) + 1]:
        batch, rest = pack(rest, BUDGET)
        if patient in batch:
            return
        rest += [entry(loop, "later", *shape) for shape in arrivals]
    raise AssertionError(f"still waiting after {len(before) + 1} batches")
