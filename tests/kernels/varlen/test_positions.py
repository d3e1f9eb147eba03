"""A table of positions resampled to any grids, against transformers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.vision_utils import get_vision_interpolation_indices_and_weights

from kernels.varlen import Grid, pack, resample
from tests.kernels.varlen.cases import GRIDS

SIZES = st.lists(st.builds(Grid, st.integers(1, 13), st.integers(1, 13)), min_size=1, max_size=5)


@given(SIZES, st.integers(1, 9), st.sampled_from([None, 3]))
def test_it_is_resampled_as_transformers_does(grids: list[Grid], side: int, window: int | None) -> None:
    table = torch.randn(side * side, 5, generator=torch.Generator().manual_seed(side))
    sequence = pack(grids, window=window)
    sizes = torch.tensor([[1, 2 * rows, 2 * columns] for rows, columns in grids])
    index, weights = get_vision_interpolation_indices_and_weights(
        sizes, side, mode="bilinear", align_corners=True, spatial_merge_size=2
    )
    as_given = (table[index] * weights[:, :, None]).sum(1).view(-1, 4, 5)
    expected = as_given[sequence.order].flatten(0, 1)
    assert torch.allclose(resample(table, sequence), expected, atol=1e-5)


def test_a_table_that_is_no_square_is_refused() -> None:
    with pytest.raises(ValueError, match="got 12 positions, must be a square number"):
        resample(torch.zeros(12, 5), pack(GRIDS["edges"]))
