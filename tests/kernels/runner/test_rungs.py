"""The arithmetic of chunks and rungs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.runner.rungs import GRAPH_BYTES, choose_rungs, chunk_tiles, graph_bytes, ladder, rung_for, split

counts = st.integers(1, 2000)


@given(counts, counts)
def test_chunks_are_as_few_and_as_even_as_can_be(tiles: int, most: int) -> None:
    chunks = split(tiles, most)
    assert sum(chunks) == tiles
    assert len(chunks) == -(-tiles // most)
    assert max(chunks) <= most and max(chunks) - min(chunks) <= 1


@given(counts)
def test_a_full_batch_is_at_most_four_chunks(tiles: int) -> None:
    assert len(split(tiles, chunk_tiles(tiles))) <= 4


@given(counts)
def test_padding_adds_less_than_half(most: int) -> None:
    rungs = ladder(most)
    assert rungs == sorted(set(rungs)) and rungs[0] == 1 and rungs[-1] == most
    for tiles in range(1, most + 1):
        rung = rung_for(tiles, rungs)
        assert rung is not None and tiles <= rung < 1.5 * tiles + (tiles == 1)
    assert rung_for(most + 1, rungs) is None


def test_the_ladder_is_short() -> None:
    assert ladder(1) == [1]
    assert ladder(9) == [1, 2, 3, 4, 6, 8, 9]
    assert ladder(64) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]


@given(counts, st.integers(1, 10**8), st.integers(0, 2**31))
def test_rungs_stay_within_their_memory_and_begin_with_one(most: int, tile_bytes: int, budget: int) -> None:
    rungs = choose_rungs(most, tile_bytes, budget)
    assert graph_bytes(rungs, tile_bytes) <= budget
    assert list(rungs) == ladder(most)[: len(rungs)]
    if len(rungs) < len(ladder(most)):  # the next one would not have fitted
        assert graph_bytes(ladder(most)[: len(rungs) + 1], tile_bytes) > budget


@pytest.mark.parametrize(
    ("budget", "rungs"),
    [(0, ()), (GRAPH_BYTES + 99, ()), (GRAPH_BYTES + 100, (1,)), (3 * GRAPH_BYTES + 300, (1, 2, 3))],
)
def test_what_the_memory_holds(budget: int, rungs: tuple[int, ...]) -> None:
    assert choose_rungs(8, 100, budget) == rungs
