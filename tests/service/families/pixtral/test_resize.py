"""The size must be transformers' own, and among fewer cells the largest that there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.families.pixtral.resize import fit_cells, fit_edge

SIDES = st.integers(1, 60) | st.integers(1, 4000)


def cells_of(size: tuple[int, int], cell: int) -> int:
    return size[0] * size[1] // cell**2


@given(SIDES, SIDES, st.integers(1, 200), st.sampled_from([14, 16, 28]), st.integers(1, 60))
def test_it_is_the_largest_that_an_edge_gives(
    width: int, height: int, edge: int, cell: int, most: int
) -> None:
    size = fit_cells(width, height, edge, cell, most)
    fitting = [
        other
        for shorter in range(1, edge + 1)
        if cells_of(other := fit_edge(width, height, shorter, cell), cell) <= most
    ]
    assert size in fitting and all(other[0] <= size[0] and other[1] <= size[1] for other in fitting)


@given(SIDES, SIDES, st.integers(1, 2000), st.sampled_from([14, 16, 28]))
def test_a_longer_edge_never_makes_a_side_shorter(width: int, height: int, edge: int, cell: int) -> None:
    shorter, longer = (fit_edge(width, height, each, cell) for each in (edge, edge + 1))
    assert shorter[0] <= longer[0] and shorter[1] <= longer[1]
    assert min(shorter) >= cell and max(shorter) < edge + cell
