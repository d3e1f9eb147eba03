"""Percentiles are exact, and the figures of many processes are those of one."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import msgpack
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadtests import figures as f
from loadtests.figures import Figures, percentile

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


@given(VALUES, st.floats(0.001, 1))
def test_a_percentile_is_numpys(values: list[float], q: float) -> None:
    assert percentile(values, q) == np.percentile(values, 100 * q, method="inverted_cdf")


@given(VALUES, st.integers(0, 60), st.floats(0.001, 1))
def test_what_never_came_is_above_all_else(values: list[float], missing: int, q: float) -> None:
    assert percentile(values, q, missing) == percentile([*values, *[math.inf] * missing], q)


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 0.5) is None
    assert percentile([], 0.5, missing=1) == math.inf


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(100, 104),
        st.sampled_from(["chat", "text"]),
        st.sampled_from([*f.ENDS, f.STARTED]),
    ),
    max_size=60,
)


@given(EVENTS, st.integers(1, 20))
def test_workers_add_up_to_one_process(events: list[tuple[int, int, str, str]], every: int) -> None:
    alone, master = Figures(), Figures()
    workers = [Figures() for _ in range(4)]
    for i, (worker, at, kind, name) in enumerate(events):
        for figures in (alone, workers[worker]):
            figures.count(at + 0.5, kind, name)
            figures.value(at + 0.5, kind, f.TOTAL, float(i))
        if i % every == 0:
            master.merge(workers[worker].take())
    for figures in workers:
        master.merge(figures.take())
        assert figures.pack() == []
    for window in ((100, 102), (102, 105), (-math.inf, math.inf)):
        for kind in ("chat", "text", None):
            left, right = alone.over(*window, kind), master.over(*window, kind)
            assert left.counts == right.counts
            assert sorted(left.values[f.TOTAL]) == sorted(right.values[f.TOTAL])
    assert alone.span() == master.span() and alone.in_flight == master.in_flight


def test_what_is_packed_survives_locusts_messages() -> None:
    figures, other = Figures(), Figures()
    figures.count(9.9, "chat", f.RIGHT, 3)
    figures.value(9.9, "chat", f.FIRST_TOKEN, 0.1)
    other.merge(msgpack.loads(msgpack.dumps(figures.take(), use_bin_type=True), raw=False))
    cell = other.over(9, 10, "chat")
    assert cell.counts == {f.RIGHT: 3} and list(cell.values[f.FIRST_TOKEN]) == [0.1]


def test_a_request_without_a_first_token_is_later_than_all_others() -> None:
    figures = Figures()
    for ms in range(1, 95):
        figures.count(1, "chat", f.AWAITED)
        figures.value(1, "chat", f.FIRST_TOKEN, float(ms))
    figures.count(1, "chat", f.AWAITED, 6)
    assert figures.over().quantile(f.FIRST_TOKEN, 0.94) == 94
    assert figures.over().quantile(f.FIRST_TOKEN, 0.95) == math.inf
    # refused ones will never have any: they are counted elsewhere
    figures.count(1, "chat", f.TOKENLESS, 6)
    assert figures.over().quantile(f.FIRST_TOKEN, 0.95) == 90


def test_windows_share_no_second_and_miss_none() -> None:
    figures = Figures()
    for at in np.linspace(0, 9.99, 100):
        figures.count(float(at), "text", f.RIGHT)
    bounds = [0, 2, 5, 10]
    assert sum(figures.over(a, b).counts[f.RIGHT] for a, b in pairwise(bounds)) == 100


def test_reasons_are_told_by_frequency() -> None:
    figures = Figures()
    figures.count(0, "chat", f.REASON + "rare")
    figures.count(0, "text", f.REASON + "often", 5)
    assert figures.over().reasons() == [("often", 5), ("rare", 1)]
    json.dumps(figures.over().reasons())
