"""Maps of patches that are too large, against torch's interpolation."""

from __future__ import annotations

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.families.llava_onevision.shrinking import CORNERS, blended, plain, shrunk

COUNTS = st.integers(1, 40)


@settings(deadline=None)
@given(COUNTS, COUNTS, COUNTS, COUNTS)
@example(162, 49, 81, 1)
@example(1, 40, 1, 39)
def test_weights_are_those_of_bilinear_interpolation(
    columns: int, rows: int, less_columns: int, less_rows: int
) -> None:
    size = min(columns, less_columns), min(rows, less_rows)
    generator = torch.Generator().manual_seed(columns)
    features = torch.randn(rows, columns, 3, generator=generator, dtype=torch.float64)
    theirs = torch.nn.functional.interpolate(
        features.permute(2, 0, 1)[None], [size[1], size[0]], mode="bilinear"
    )[0].permute(1, 2, 0)
    newline = torch.full((size[1], 1, 3), 7.0, dtype=torch.float64)
    numbers = torch.arange(rows * columns).view(rows, columns).tolist()
    index, weights = blended(numbers, size, rows * columns)
    table = torch.cat([features.flatten(0, 1), torch.full((1, 3), 7.0, dtype=torch.float64)])
    picked = table[torch.tensor(index)].view(-1, CORNERS, 3)
    ours = (picked * torch.tensor(weights).view(-1, CORNERS, 1)).sum(1)
    torch.testing.assert_close(
        ours, torch.cat([theirs, newline], 1).flatten(0, 1), rtol=1e-5, atol=1e-5, check_dtype=False
    )


def test_a_map_is_shrunk_when_it_has_a_fifth_more_than_nine_tiles() -> None:
    assert shrunk(81, 81, 27) == (81, 81)
    assert shrunk(162, 48, 27) == (162, 48)
    assert shrunk(162, 50, 27) == (145, 44)
    assert shrunk(162, 162, 27) == (81, 81)


def test_rows_as_they_are_have_one_weight() -> None:
    index, weights = plain([5, 3])
    assert list(index) == [5, 0, 0, 0, 3, 0, 0, 0]
    assert list(weights) == [1, 0, 0, 0, 1, 0, 0, 0]
