"""The arithmetic of LLaVA-NeXT, held against transformers' own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.image_utils import ChannelDimension
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

from service.families.llava_next.anyres import best_canvas, fitted, kept, lines
from service.families.llava_next.files import PINPOINTS

MANY = [[336 * rows, 336 * columns] for rows in range(1, 7) for columns in range(1, 7) if rows * columns <= 9]
SIDES = st.integers(1, 6000) | st.sampled_from([1, 2, 335, 336, 337, 672, 1008, 65_535])
CANVASES = st.sampled_from([PINPOINTS, MANY])


@given(SIDES, SIDES, CANVASES)
@example(336, 336, PINPOINTS)
@example(672, 336, PINPOINTS)
def test_the_canvas_and_the_size_on_it_are_transformers(
    width: int, height: int, pinpoints: list[list[int]]
) -> None:
    canvas = best_canvas(width, height, [(w, h) for h, w in pinpoints])
    best = select_best_resolution((height, width), pinpoints)
    if best is None:  # of a strip that no canvas shows a pixel of
        return
    assert canvas == (best[1], best[0])
    image = np.broadcast_to(np.uint8(0), (3, height, width))
    theirs = get_patch_output_size(image, best, ChannelDimension.FIRST)
    assert fitted(width, height, canvas) == (theirs[1], theirs[0])


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from([1, 2, 3, 4, 6]),
)
@example(1000, 7, 2, 1, 3)
def test_lines_are_transformers_packed_features(
    width: int, height: int, columns: int, rows: int, side: int
) -> None:
    """Features that are their own numbers go through the model's packing."""
    config = SimpleNamespace(
        vision_config=SimpleNamespace(image_size=12, patch_size=12 // side),
        image_grid_pinpoints=[[12 * rows, 12 * columns]],
    )
    tiles = 1 + rows * columns
    numbers = torch.arange(tiles * side * side, dtype=torch.float64).view(tiles, side * side, 1)
    newline = torch.tensor([-1.0], dtype=torch.float64)
    (packed,), _ = LlavaNextModel.pack_image_features(
        SimpleNamespace(config=config), [numbers], [(height, width)], "full", newline
    )
    found = lines(*kept(width, height, columns * side, rows * side), columns, side, side * side, -1)
    assert [*range(side * side), *found] == packed.flatten().long().tolist()
