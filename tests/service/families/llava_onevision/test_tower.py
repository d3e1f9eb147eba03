"""LLaVA-OneVision's tower and token maps against transformers' `get_image_features`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from service.domain import Detail
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.llava_next.test_tower import tokens
from tests.service.families.rows import worst
from tests.service.tiny import pictures
from tests.service.tiny_llava_onevision import soft_tokens, write_checkpoint

SIZES = (
    (60, 60),
    (97, 61),
    (640, 480),
    (33, 300),
    (300, 33),
    (900, 5),
    (1, 1),
    (2, 300),
    (300, 290),
    (1000, 1000),
)
SHRUNK = {(640, 480), (300, 290), (1000, 1000)}


def test_some_of_the_maps_are_shrunk(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    geometry = load_geometry(tmp_path)
    maps = {size: geometry.plan(*size, Detail.HIGH).token_map for size in SIZES}
    assert {size for size, one in maps.items() if one is not None and one.weights is not None} == SHRUNK


@pytest.mark.parametrize(
    ("body", "config"),
    [
        ("fused", {}),
        ("transformers", {}),
        ("fused", {"vision_feature_layer": -2}),
        ("fused", {"vision_feature_layer": [-2, -1]}),
        ("fused", {"multimodal_projector_bias": False}),
    ],
    ids=["fused", "transformers", "another layer", "several layers", "no bias"],
)
def test_equals_transformers(tmp_path: Path, body: str, config: dict[str, object]) -> None:
    model = write_checkpoint(tmp_path, **config)
    tower = tower_of(tmp_path, dtype="float32", body=body)
    assert tower.choice.body == body
    images = pictures(SIZES)
    assert worst(tokens(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-4


def test_in_bfloat16_it_is_no_farther_off_than_one_in_a_hundred(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    images = pictures(SIZES)
    tower = tower_of(tmp_path, dtype="bfloat16")
    assert worst(tokens(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-2


def test_the_towers_bytes_are_told_from_the_language_models(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    found = load_checkpoint(str(tmp_path))
    parts = model.model.vision_tower, model.model.multi_modal_projector
    own = sum(p.numel() for part in parts for p in part.parameters()) + model.model.image_newline.numel()
    assert found.vision_bytes == 4 * own


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_newline": None}, "has no tensor image_newline"),
        ({"vision_tower__vision_model__extra": torch.ones(3)}, "does not account for: vision_tower.extra"),
        ({"multi_modal_projector__linear_1__weight": torch.ones(64, 31)}, r"is \[64, 31\]"),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")
