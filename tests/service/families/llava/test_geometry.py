"""One tile of any image, held against transformers' CLIPImageProcessor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import CLIPImageProcessor

from service.decode.tiling import cut
from service.domain import Detail, Filter, Run, SoftLayout
from service.errors import ConfigurationError
from service.families.base import FamilyFacts
from service.families.llava.geometry import LlavaGeometry

FACTS = FamilyFacts(family="llava", architecture="", placeholders=("<image>",), fingerprint="", max_ratio=200)


def made(
    tile: int = 336, resize: int | tuple[int, int] = 336, filter: Filter = Filter.BICUBIC
) -> LlavaGeometry:
    return LlavaGeometry(FACTS, tile, resize, patches=576, tokens=576, image_token=9, filter=filter)


@st.composite
def sizes(draw: st.DrawFn, longest: int = 700) -> tuple[int, int]:
    short = draw(st.integers(1, longest))
    long = draw(st.integers(short, min(longest, 200 * short)))
    return (short, long) if draw(st.booleans()) else (long, short)


@settings(max_examples=80, deadline=None)
@given(sizes(), st.sampled_from([28, 29, 56]), st.sampled_from([20, 28, 56, 61]))
@example((1, 200), 28, 28)
@example((200, 1), 28, 28)
@example((28, 28), 28, 28)
def test_the_tile_is_transformers_centre_crop(size: tuple[int, int], tile: int, resize: int) -> None:
    """Where the image is shorter than the tile too: then transformers pads it."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    processor = CLIPImageProcessor(
        size={"shortest_edge": resize},
        crop_size={"height": tile, "width": tile},
        do_rescale=False,
        do_normalize=False,
    )
    theirs = processor(images=[torch.from_numpy(pixels).permute(2, 0, 1)], return_tensors="pt")[
        "pixel_values"
    ]
    (ours,) = cut(torch.from_numpy(pixels), made(tile, resize).plan(*size, Detail.HIGH).views)
    assert torch.equal(ours, theirs.to(torch.uint8).permute(0, 2, 3, 1))


@pytest.mark.parametrize("filter", [Filter.BICUBIC, Filter.BILINEAR])
def test_a_processor_that_squeezes_is_followed(filter: Filter) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    processor = CLIPImageProcessor(
        size={"height": 28, "width": 28},
        do_center_crop=False,
        do_rescale=False,
        do_normalize=False,
        resample={Filter.BICUBIC: 3, Filter.BILINEAR: 2}[filter],
    )
    theirs = processor(images=[torch.from_numpy(pixels).permute(2, 0, 1)], return_tensors="pt")[
        "pixel_values"
    ]
    (ours,) = cut(torch.from_numpy(pixels), made(28, (28, 28), filter).plan(70, 40, Detail.HIGH).views)
    assert torch.equal(ours, theirs.to(torch.uint8).permute(0, 2, 3, 1))


@given(sizes(longest=20_000), st.sampled_from(Detail), st.none() | st.integers(1, 9))
def test_every_image_takes_the_same(size: tuple[int, int], detail: Detail, most: int | None) -> None:
    plan = made().plan(*size, detail, most)
    assert plan.layout == SoftLayout((9,), (Run(9, 576, True),))
    assert (plan.tiles, plan.tokens, plan.patches, plan.token_map) == (1, 576, 576, None)
    assert plan.detail == ("high" if detail is Detail.HIGH else "low")
    (view,) = plan.views
    assert (view.columns, view.rows) == (1, 1)


def test_bounds() -> None:
    geometry = made()
    assert geometry.max_tokens == geometry.largest.tokens == 576
    assert geometry.limited(576) is geometry
    with pytest.raises(ConfigurationError, match=r"max_image_tokens \(575\) is less than the 576"):
        geometry.limited(575)
    for size in ((0, 5), (201, 1), (1, 201)):
        with pytest.raises(ValueError, match="pixel|at most 200 times"):
            geometry.plan(*size, Detail.HIGH)
    assert geometry.processor_options("low") == geometry.processor_options("high") == {}
