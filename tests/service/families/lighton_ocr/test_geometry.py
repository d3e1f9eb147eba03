"""The plan must be transformers' own for every size, to the pixel, and its layout soft tokens alone.

Sizes, limits and levels of detail are Pixtral's, whose own tests have more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.decode.tiling import cut
from service.domain import Detail, Run, SoftLayout
from service.families import load_geometry
from service.families.lighton_ocr.geometry import LightOnOcrGeometry
from tests.service.families.lighton_ocr.hub import PROCESSOR
from tests.service.tiny_lighton_ocr import write_checkpoint

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def geometry(tmp_path_factory: pytest.TempPathFactory) -> LightOnOcrGeometry:
    folder = tmp_path_factory.mktemp("lighton_ocr")
    write_checkpoint(folder)
    return LightOnOcrGeometry.from_checkpoint(folder)


SIDES = st.integers(1, 60) | st.integers(1, 3000)


@example(616, 616, 3000)
@example(1, 200, 1)
@given(SIDES, SIDES, st.integers(1, 600))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plan_is_one_run_of_soft_tokens(
    geometry: LightOnOcrGeometry, width: int, height: int, most: int
) -> None:
    if max(width, height) > geometry.facts.max_ratio * min(width, height):
        return
    for detail in Detail:
        plan = geometry.plan(width, height, detail, most)
        (view,) = plan.views
        assert plan.layout.runs == (Run(geometry.image_token, view.columns * view.rows, embeds=True),)
        assert plan.tokens == plan.tiles == plan.layout.positions <= geometry.max_tokens
        assert plan.patches == 4 * plan.tokens
        if detail is Detail.AUTO:
            assert plan.tokens <= most
    limited = geometry.limited(most)
    assert isinstance(limited, LightOnOcrGeometry) and limited.max_tokens <= max(most, 1)


def test_levels_of_detail(write: Write) -> None:
    geometry = load_geometry(write())
    low, high = (geometry.plan(4000, 3000, detail) for detail in (Detail.LOW, Detail.HIGH))
    assert (low.detail, low.tokens, low.layout.positions) == ("low", 19 * 14, 19 * 14)
    assert (high.detail, high.tokens) == ("high", 55 * 42)
    assert geometry.plan(200, 100, Detail.AUTO).detail == "low"
    assert geometry.processor_options("high") == {}
    assert geometry.processor_options("low") == {"size": {"longest_edge": 512}}


def test_the_layout_has_no_breaks(write: Write) -> None:
    layout = load_geometry(write()).plan(84, 56, Detail.HIGH).layout
    assert layout == SoftLayout((151655,), (Run(151655, 6, True),))


@pytest.mark.parametrize(
    ("width", "height", "detail"),
    [
        (640, 480, Detail.HIGH),
        (1920, 1080, Detail.HIGH),  # shrunk
        (1080, 1920, Detail.LOW),
        (112, 224, Detail.HIGH),  # as it is
        (17, 9, Detail.HIGH),
        (2000, 10, Detail.HIGH),
    ],
)
def test_cells_are_the_processors_pixels_in_whole_cells(
    write: Write, width: int, height: int, detail: Detail
) -> None:
    """The released processor's patch_size is a patch's; vLLM passes it a cell's."""
    from transformers import PixtralImageProcessor

    geometry = load_geometry(write())
    assert isinstance(geometry, LightOnOcrGeometry)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    plan = geometry.plan(width, height, detail)
    (cells,) = cut(torch.from_numpy(pixels), plan.views)  # [cells, side, side, 3]
    (view,) = plan.views
    whole = cells.view(view.rows, view.columns, 28, 28, 3).permute(4, 0, 2, 1, 3)
    seen = PixtralImageProcessor(**PROCESSOR | {"do_pad": True})(
        Image.fromarray(pixels),
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
        patch_size=28,
        **geometry.processor_options(detail),
    )
    assert torch.equal(whole.reshape(3, view.height, view.width), seen["pixel_values"][0])


def test_a_checkpoint_is_read_like_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import AutoProcessor

    write_checkpoint(tmp_path)
    geometry, processor = load_geometry(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    text, picture = f"a{processor.image_token}b", Image.new("RGB", (150, 90))
    layout = geometry.plan(150, 90, Detail.HIGH).layout
    (ids,) = processor(text=text, images=[picture])["input_ids"]
    assert [run.token for run in layout.runs for _ in range(run.count)] == list(ids)[1:-1]
    assert list(layout.target) == processor.tokenizer(processor.image_token)["input_ids"]
