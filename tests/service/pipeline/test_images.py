"""Where an image is on the canvas that the model sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import View
from service.pipeline.images import placement


@pytest.mark.parametrize(
    ("view", "where"),
    [
        (View(448, 224, 224, 224), (0, 0, 448, 224)),
        # fitted to the canvas, with padding above and below
        (View(448, 448, 224, 224, resize=(448, 224), offset=(0, 112)), (0, 112, 448, 224)),
        # its middle cut out: what overhangs is cut off
        (View(224, 224, 224, 224, resize=(448, 224), offset=(-112, 0)), (-112, 0, 448, 224)),
        # one quarter of it enlarged to the canvas
        (View(200, 100, 100, 100, crop=(100, 50, 100, 50)), (-200, -100, 400, 200)),
        (
            View(200, 100, 100, 100, crop=(100, 0, 100, 100), resize=(100, 100), offset=(50, 0)),
            (-50, 0, 200, 100),
        ),
    ],
)
def test_of_an_image_of_200_by_100(view: View, where: tuple[int, int, int, int]) -> None:
    assert placement(view, 200, 100) == where


@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    canvas=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_without_a_crop_the_corners_are_those_of_the_canvas(
    size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    width, height = 28 * canvas[0], 28 * canvas[1]
    assert placement(View(width, height, 28, 28), *size) == (0, 0, width, height)
