"""The arithmetic of chunks and graph_sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.runner.graph_sizes import (
    GRAPH_BYTES,
    candidate_sizes,
    choose_graph_sizes,
    chunk_tiles,
    graph_bytes,
    graph_size_for,
    split,
)

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
    graph_sizes = candidate_sizes(most)
    assert graph_sizes == sorted(set(graph_sizes)) and graph_sizes[0] == 1 and graph_sizes[-1] == most
    for tiles in range(1, most + 1):
        graph_size = graph_size_for(tiles, graph_sizes)
        assert graph_size is not None and tiles <= graph_size < 1.5 * tiles + (tiles == 1)
    assert graph_size_for(most + 1, graph_sizes) is None


def test_the_ladder_is_short() -> None:
    assert candidate_sizes(1) == [1]
    assert candidate_sizes(9) == [1, 2, 3, 4, 6, 8, 9]
    assert candidate_sizes(64) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]


@given(counts, st.integers(1, 10**8), st.integers(0, 2**31))
def test_graph_sizes_stay_within_their_memory_and_begin_with_one(
    most: int, tile_bytes: int, budget: int
) -> None:
    graph_sizes = choose_graph_sizes(most, tile_bytes, budget)
    assert graph_bytes(graph_sizes, tile_bytes) <= budget
    assert list(graph_sizes) == candidate_sizes(most)[: len(graph_sizes)]
    if len(graph_sizes) < len(candidate_sizes(most)):  # the next one would not have fitted
        assert graph_bytes(candidate_sizes(most)[: len(graph_sizes) + 1], tile_bytes) > budget


@pytest.mark.parametrize(
    ("budget", "graph_sizes"),
    [(0, ()), (GRAPH_BYTES + 99, ()), (GRAPH_BYTES + 100, (1,)), (3 * GRAPH_BYTES + 300, (1, 2, 3))],
)
def test_what_the_memory_holds(budget: int, graph_sizes: tuple[int, ...]) -> None:
    assert choose_graph_sizes(8, 100, budget) == graph_sizes
