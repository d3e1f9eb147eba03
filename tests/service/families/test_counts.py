"""Soft tokens of many sizes in every family, against transformers' processors on files as they are served.

The unit tests ask for counts, and for the prompts of a few pictures; `make families` for those of hundreds.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor, PixtralProcessor

from service.domain import Detail
from service.families import Geometry, load_geometry
from tests.service import tiny_idefics3
from tests.service.checkpoints import CHECKPOINTS, Write

Pair = tuple[Any, Geometry]
"""Transformers' processor, and our geometry, of one checkpoint."""
EDGES = [(1, 1), (1, 200), (200, 1), (2, 3), (12_000, 9_000), (56, 56), (112, 56), (57, 111)]
NOT_COUNTED = ("blip-2", "idefics2", "smolvlm")
"""The first two processors count nothing, the third wants a package for numbers in words."""
COUNTED: dict[str, Write] = {
    **{family: write for family, write in CHECKPOINTS.items() if family not in NOT_COUNTED},
    "idefics3 without a token for two newlines": partial(tiny_idefics3.write_checkpoint, doubled=False),
}


@pytest.fixture(scope="module", params=COUNTED)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("checkpoint")
    COUNTED[request.param](folder)
    return AutoProcessor.from_pretrained(folder), load_geometry(folder)


def draw_sizes(count: int, longest: int) -> list[tuple[int, int]]:
    """(width, height): lines of a pixel, tiny ones, huge ones, and what lies between."""
    rng = np.random.default_rng(3)
    sizes = [size for size in EDGES if max(size) <= longest]
    while len(sizes) < count:
        width, height = (int(side) for side in np.exp(rng.uniform(0, np.log(longest), 2)))
        if max(width, height) <= 200 * min(width, height):
            sizes.append((width, height))
    return sizes


def test_counts_are_the_processors(pair: Pair) -> None:
    processor, geometry = pair
    sizes = draw_sizes(500, 10_000)
    if isinstance(processor, PixtralProcessor):
        # for its counts alone, a picture as high as it could have colours is one whose colours come first
        sizes = [(width, height) for width, height in sizes if height not in (1, 3)]
    theirs = processor._get_num_multimodal_tokens(image_sizes=[(height, width) for width, height in sizes])
    plans = [geometry.plan(*size, Detail.HIGH) for size in sizes]
    # Gemma's processors do not count what stands around the soft tokens
    soft_alone = geometry.facts.family in ("gemma3", "gemma4", "paligemma")
    ours = [plan.tokens if soft_alone else plan.layout.positions for plan in plans]
    assert ours == theirs["num_image_tokens"]


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.families)])
def test_a_prompt_has_as_many_soft_tokens(pair: Pair, count: int) -> None:
    processor, geometry = pair
    for size in draw_sizes(count, 1500):
        (ids,) = processor(text=processor.image_token, images=[Image.new("RGB", size)])["input_ids"]
        layout = geometry.plan(*size, Detail.HIGH).layout
        (soft,) = {run.token for run in layout.runs if run.embeds}
        assert list(ids).count(soft) == layout.tokens, size
