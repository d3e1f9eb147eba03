"""Soft tokens of many sizes in every family, against transformers' processors on files as they are served.

The unit tests ask for counts, and for the prompts of a few pictures; `make families` for those of hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor, LightOnOcrProcessor, PixtralProcessor

from service.domain import Detail
from service.families import Geometry, load_geometry
from service.families.gemma4.files import BUDGETS
from tests.service import tiny_gemma4, tiny_idefics3
from tests.service.checkpoints import CHECKPOINTS, Write
from tests.service.families.figures import Tell


@dataclass(frozen=True)
class Pair:
    """Of one checkpoint."""

    family: str
    processor: Any
    """Transformers' own."""
    geometry: Geometry


EDGES = [(1, 1), (1, 200), (200, 1), (2, 3), (12_000, 9_000), (56, 56), (112, 56), (57, 111)]
NOT_COUNTED = ("blip-2", "idefics2", "paddleocr_vl", "smolvlm")
"""Their processors have no count without a prompt."""
WRITTEN: dict[str, Write] = {
    **CHECKPOINTS,
    "idefics3 without a token for two newlines": partial(tiny_idefics3.write_checkpoint, doubled=False),
    **{
        f"gemma4 with a budget of {budget}": partial(
            tiny_gemma4.write_checkpoint, processor={"max_soft_tokens": budget}
        )
        for budget in BUDGETS
    },
}


@pytest.fixture(scope="module", params=WRITTEN)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("checkpoint")
    WRITTEN[request.param](folder)
    return Pair(request.param, AutoProcessor.from_pretrained(folder), load_geometry(folder))


def draw_sizes(count: int, longest: int) -> list[tuple[int, int]]:
    """(width, height): lines of a pixel, tiny ones, huge ones, and what lies between."""
    rng = np.random.default_rng(3)
    sizes = [size for size in EDGES if max(size) <= longest]
    while len(sizes) < count:
        width, height = (int(side) for side in np.exp(rng.uniform(0, np.log(longest), 2)))
        if max(width, height) <= 200 * min(width, height):
            sizes.append((width, height))
    return sizes


@pytest.mark.parametrize("count", [500, pytest.param(2000, marks=pytest.mark.families)])
@pytest.mark.parametrize("pair", [family for family in WRITTEN if family not in NOT_COUNTED], indirect=True)
def test_counts_are_the_processors(pair: Pair, count: int, tell: Tell) -> None:
    processor, geometry = pair.processor, pair.geometry
    sizes = draw_sizes(count, 10_000)
    if isinstance(processor, PixtralProcessor | LightOnOcrProcessor):
        # for its counts alone, a picture as high as it could have colours is one whose colours come first
        sizes = [(width, height) for width, height in sizes if height not in (1, 3)]
    theirs = processor._get_num_multimodal_tokens(image_sizes=[(height, width) for width, height in sizes])
    plans = [geometry.plan(*size, Detail.HIGH) for size in sizes]
    # Gemma's processors do not count what stands around the soft tokens
    soft_alone = geometry.facts.family in ("gemma3", "gemma4", "paligemma")
    ours = [plan.tokens if soft_alone else plan.layout.positions for plan in plans]
    assert ours == theirs["num_image_tokens"]
    _tell_counts(tell, pair, len(sizes))


@pytest.mark.parametrize("count", [10, pytest.param(600, marks=pytest.mark.families)])
def test_a_prompt_has_as_many_soft_tokens(pair: Pair, count: int, tell: Tell) -> None:
    processor, geometry = pair.processor, pair.geometry
    # BLIP-2's puts images in front of any text
    text = "What?" if pair.family == "blip-2" else processor.image_token
    sizes = [size for size in draw_sizes(count, 1500) if min(size) >= geometry.facts.min_side]
    for size in sizes:
        (ids,) = processor(text=text, images=[Image.new("RGB", size)])["input_ids"]
        layout = geometry.plan(*size, Detail.HIGH).layout
        (soft,) = {run.token for run in layout.runs if run.embeds}
        assert list(ids).count(soft) == layout.tokens, size
    if pair.family in NOT_COUNTED:
        _tell_counts(tell, pair, len(sizes))


def _tell_counts(tell: Tell, pair: Pair, equal: int) -> None:
    if pair.family in CHECKPOINTS:
        tell(pair.family, "counts", f"{equal:,} of {equal:,}")
