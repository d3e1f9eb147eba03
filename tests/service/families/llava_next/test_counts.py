"""Soft tokens of five hundred sizes, against the authors' processors on files as they are served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoProcessor

from service.domain import Detail
from service.families import load_geometry
from tests.service.tiny_llava import write_checkpoint

SIZES = 500


def draw_sizes() -> list[tuple[int, int]]:
    """(width, height): lines of a pixel, tiny ones, huge ones, and what lies between."""
    rng = np.random.default_rng(3)
    sizes = [(1, 1), (1, 200), (200, 1), (2, 3), (12_000, 9_000), (56, 56), (112, 56), (57, 111)]
    while len(sizes) < SIZES:
        width, height = (int(side) for side in np.exp(rng.uniform(0, np.log(10_000), 2)))
        if max(width, height) <= 200 * min(width, height):
            sizes.append((width, height))
    return sizes


@pytest.mark.parametrize("anyres", [False, True], ids=["llava", "llava_next"])
def test_counts_are_the_processors(tmp_path: Path, anyres: bool) -> None:
    write_checkpoint(tmp_path, anyres=anyres)
    processor, geometry = AutoProcessor.from_pretrained(tmp_path), load_geometry(tmp_path)
    sizes = draw_sizes()
    theirs = processor._get_num_multimodal_tokens(image_sizes=[(height, width) for width, height in sizes])
    ours = [geometry.plan(*size, Detail.HIGH).tokens for size in sizes]
    assert ours == theirs["num_image_tokens"]
