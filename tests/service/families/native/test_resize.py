"""The size must be transformers' own for every image, and the bound on its cells must hold for every admitted one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.families.native.resize import MAX_RATIO, most_cells, shrink, smart_resize

CELL = 28


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    """(width, height) that are admitted: narrow ones, whose cells are fewest beyond a bound, as often as others."""
    short = draw(st.integers(1, 60) | st.integers(1, 6000))
    long = draw(st.integers(short, MAX_RATIO * short) | st.integers(199 * short, MAX_RATIO * short))
    return (long, short) if draw(st.booleans()) else (short, long)


@st.composite
def bounds(draw: st.DrawFn) -> tuple[int, int]:
    """(fewest, most) pixels: near whole cells, and near each other, as often as not."""
    cells = st.integers(1, 400) | st.integers(1, 16384)
    most = draw(st.integers(1, 2_000_000) | cells.map(lambda count: count * CELL**2))
    return draw(st.integers(1, most) | st.integers(max(1, most - 800), most)), most


def cells_of(size: tuple[int, int]) -> int:
    return size[0] * size[1] // CELL**2


@example((70, 42), (3136, 1003520), 28)  # halves of a cell, to even ones
@example((150, 15), (3000, 3919), 28)  # too large by rounding, and longer after it was shrunk
@example((28, 196), (3136, 50176), 28)
@given(sizes(), bounds(), st.sampled_from([28, 32, 14]))
def test_a_size_is_transformers_own(size: tuple[int, int], pixels: tuple[int, int], factor: int) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as theirs

    width, height = smart_resize(*size, factor, *pixels)
    assert (height, width) == theirs(size[1], size[0], factor, *pixels)


@given(st.integers(1, 300), st.integers(-2, 2), st.booleans())
def test_the_same_shapes_are_refused(short: int, more: int, upright: bool) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as theirs

    long = MAX_RATIO * short + more
    width, height = (short, long) if upright else (long, short)
    if more <= 0:
        assert (
            smart_resize(width, height, CELL, 3136, 10**6) == theirs(height, width, CELL, 3136, 10**6)[::-1]
        )
        return
    with pytest.raises(ValueError, match=f"at most 200 times the shorter one, not {width} × {height}"):
        smart_resize(width, height, CELL, 3136, 10**6)
    with pytest.raises(ValueError, match="aspect ratio"):
        theirs(height, width, CELL, 3136, 10**6)


@given(sizes(), st.integers(1, 16384))
def test_shrinking_keeps_within_its_cells_and_is_transformers_where_that_does(
    size: tuple[int, int], cells: int
) -> None:
    shrunk = shrink(*size, CELL, cells)
    assert 1 <= cells_of(shrunk) <= cells and shrunk[0] % CELL == shrunk[1] % CELL == 0
    most = cells * CELL**2
    too_large = round(size[0] / CELL) * round(size[1] / CELL) > cells
    if too_large and cells_of(same := smart_resize(*size, CELL, 1, most)) <= cells:
        assert shrunk == same
    if cells > MAX_RATIO:  # no strip needs more
        assert not too_large or shrunk == smart_resize(*size, CELL, 1, most)


@given(sizes(), st.integers(1, 16384), st.integers(0, 50))
def test_more_cells_never_make_a_side_shorter(size: tuple[int, int], cells: int, more: int) -> None:
    fewer, width, height = shrink(*size, CELL, cells), *shrink(*size, CELL, cells + more)
    assert fewer[0] <= width and fewer[1] <= height


@example((5599, 28), (200 * CELL**2, 200 * CELL**2))  # 2 rows of 200 cells, of an image that 200 would hold
@example((200, 1), (784, 784))
@given(sizes(), bounds())
def test_no_image_passes_the_bound(size: tuple[int, int], pixels: tuple[int, int]) -> None:
    assert cells_of(smart_resize(*size, CELL, *pixels)) <= most_cells(CELL, *pixels)


@pytest.mark.parametrize(
    ("pixels", "size"),
    [
        ((3136, 12_845_056), (3584, 3584)),
        ((3136, 1280 * CELL**2), (1120, 896)),
        ((3136, 50 * CELL**2), (20_000, 100)),  # a strip: 1 row of 100 cells where a square has 49
        ((1, 783), (20_000, 100)),
    ],
)
def test_the_bound_is_reached(pixels: tuple[int, int], size: tuple[int, int]) -> None:
    assert cells_of(smart_resize(*size, CELL, *pixels)) == most_cells(CELL, *pixels)


@pytest.mark.parametrize("fewest", [100, 199, 200, 1000])
def test_what_rounding_up_adds_is_counted_and_little_more(fewest: int) -> None:
    pixels = fewest * CELL**2
    reached = max(
        cells_of(smart_resize(MAX_RATIO * short - less, short, CELL, pixels, pixels))
        for short in range(1, 100)
        for less in range(0, 199 * short, max(1, short // 3))
    )
    assert fewest < reached <= most_cells(CELL, pixels, pixels) <= 1.02 * reached
