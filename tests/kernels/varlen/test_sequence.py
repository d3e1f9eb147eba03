"""The order of a packed sequence: everything in it once, windows as transformers has them, positions as they were."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from kernels.varlen import Grid, Segments, pack
from tests.kernels.varlen.cases import GRIDS

SIZES = st.lists(st.builds(Grid, st.integers(1, 13), st.integers(1, 13)), min_size=1, max_size=6)


def groups_of(groups: tuple[Segments, ...], tokens: int) -> list[set[int]]:
    """Who sees each other, by place in the sequence."""
    found = []
    for group in groups:
        assert torch.equal(torch.arange(tokens)[group.rows], group.where)
        found += [set(piece.tolist()) for piece in group.where.view(group.count, group.length)]
    return found


@given(SIZES)
def test_every_cell_comes_once(grids: list[Grid]) -> None:
    sequence = pack(grids, window=4)
    assert sequence.order.sort().values.tolist() == list(range(sum(r * c for r, c in grids)))
    for groups in (sequence.windows, sequence.images):
        seen = groups_of(groups, sequence.tokens)
        assert sorted(n for piece in seen for n in piece) == list(range(sequence.tokens))


@given(SIZES)
def test_windows_are_those_of_transformers(grids: list[Grid]) -> None:
    sequence = pack(grids, window=4)
    sizes = torch.tensor([[1, 2 * rows, 2 * columns] for rows, columns in grids])
    cells, bounds = get_vision_window_index(sizes, spatial_merge_size=2, window_size=112, patch_size=14)
    tokens = (4 * cells[:, None] + torch.arange(4)).flatten()
    theirs = {frozenset(tokens[a:b].tolist()) for a, b in zip(bounds, bounds[1:], strict=False)}
    as_given = (4 * sequence.order[:, None] + torch.arange(4)).flatten()
    ours = {
        frozenset(as_given[list(piece)].tolist()) for piece in groups_of(sequence.windows, sequence.tokens)
    }
    assert ours == theirs


@given(SIZES, st.sampled_from([None, 1, 3]))
def test_positions_and_images_are_those_of_the_image(grids: list[Grid], window: int | None) -> None:
    sequence = pack(grids, window=window)
    sizes = torch.tensor([[1, 2 * rows, 2 * columns] for rows, columns in grids])
    positions = get_vision_position_ids(sizes, 2)
    as_given = (4 * sequence.order[:, None] + torch.arange(4)).flatten()
    assert torch.equal(sequence.positions, positions[as_given])
    image = torch.repeat_interleave(
        torch.arange(len(grids)), torch.tensor([4 * rows * columns for rows, columns in grids])
    )[as_given]
    for piece in groups_of(sequence.images, sequence.tokens):
        assert len(set(image[list(piece)].tolist())) == 1
    assert sum(group.count for group in sequence.images) == len(grids)
    if window is None:
        windows, images = (
            groups_of(groups, sequence.tokens) for groups in (sequence.windows, sequence.images)
        )
        assert set(map(frozenset, windows)) == set(map(frozenset, images))


def test_there_are_few_groups() -> None:
    sequence = pack([Grid(9, 9)] * 20 + [Grid(10, 10)] * 20, window=4)
    # in cells: 16 a window, 4 × 2 and 4 × 1 at the edges, 2 × 2 and 1 in the corners
    assert [(group.count, group.length) for group in sequence.windows] == [
        (160, 64),
        (80, 32),
        (100, 16),
        (20, 4),
    ]
    assert [(group.count, group.length) for group in sequence.images] == [(20, 324), (20, 400)]


def test_one_image_and_no_window_need_no_index() -> None:
    assert all(group.index is None for group in pack(GRIDS["edges"], window=4).images)
    assert all(group.index is None for group in pack(GRIDS["mixed"]).images)


@pytest.mark.parametrize(
    ("grids", "options"),
    [([], {}), ([Grid(0, 3)], {}), ([Grid(1, 1)], {"window": 0}), ([Grid(1, 1)], {"merge": 0})],
    ids=str,
)
def test_what_cannot_be_is_refused(grids: list[Grid], options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be one image or more"):
        pack(grids, **options)
