"""PaliGemma's pixels and tower against transformers' own, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from transformers import SiglipImageProcessor

from service.decode.tiling import cut
from service.domain import Detail
from service.errors import ConfigurationError
from service.families import Geometry, load_checkpoint, load_geometry
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.llava.test_geometry import sizes
from tests.service.families.rows import encoded, worst
from tests.service.tiny import pictures
from tests.service.tiny_paligemma import soft_tokens, write_checkpoint

SIZES = ((56, 56), (97, 61), (640, 480), (33, 300), (1, 1), (900, 3), (2, 700))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Geometry, SiglipImageProcessor]:
    folder = tmp_path_factory.mktemp("paligemma")
    write_checkpoint(folder)
    return load_geometry(folder), SiglipImageProcessor.from_pretrained(
        folder, do_rescale=False, do_normalize=False
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=sizes())
@example(size=(1, 200))
@example(size=(56, 56))
def test_pixels_are_transformers(one: tuple[Geometry, SiglipImageProcessor], size: tuple[int, int]) -> None:
    geometry, processor = one
    (image,) = pictures([size])
    theirs = processor(images=[image], return_tensors="pt")["pixel_values"]
    (ours,) = cut(torch.from_numpy(np.array(image)), geometry.plan(*size, Detail.HIGH).views)
    assert torch.equal(ours, theirs.to(torch.uint8).permute(0, 2, 3, 1))


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("body", ["fused", "transformers"])
def test_equals_transformers(tmp_path: Path, body: str, second: bool) -> None:
    model = write_checkpoint(tmp_path, second=second)
    tower = tower_of(tmp_path, dtype="float32", body=body)
    assert tower.choice.body == body
    images = pictures(SIZES)
    assert worst(encoded(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-4


def test_in_bfloat16_it_is_no_farther_off_than_one_in_a_hundred(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    images = pictures(SIZES)
    tower = tower_of(tmp_path, dtype="bfloat16")
    assert worst(encoded(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-2


def test_the_towers_bytes_are_told_from_the_language_models(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    found = load_checkpoint(str(tmp_path))
    parts = model.model.vision_tower, model.model.multi_modal_projector
    assert found.vision_bytes == sum(4 * p.numel() for part in parts for p in part.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_tower__vision_model__extra": torch.ones(3)}, "does not account for: vision_tower.extra"),
        ({"multi_modal_projector__linear__bias": None}, "no tensor .*linear.bias"),
        ({"multi_modal_projector__linear__weight": torch.ones(64, 31)}, r"is \[64, 31\]"),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")
