"""Idefics3's and SmolVLM's tower against transformers' own, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from service.errors import ConfigurationError
from service.families import load_checkpoint
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import encoded, worst
from tests.service.tiny import pictures
from tests.service.tiny_idefics3 import soft_tokens, write_checkpoint

SIZES = ((56, 56), (97, 61), (640, 480), (33, 300), (1, 1), (900, 3), (2, 700))


@pytest.mark.parametrize("body", ["fused", "transformers"])
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("idefics3", {}),
        ("smolvlm", {}),
        ("idefics3", {"vision": {"image_size": 182, "patch_size": 7}}),
        ("smolvlm", {"vision": {"image_size": 60, "patch_size": 2}, "scale_factor": 3}),
        ("smolvlm", {"vision": {"image_size": 56, "patch_size": 2}, "scale_factor": 4}),
    ],
    ids=["idefics3", "smolvlm", "26 patches", "30 by threes", "28 by fours"],
)
def test_equals_transformers(tmp_path: Path, kind: Any, config: dict[str, Any], body: str) -> None:
    model = write_checkpoint(tmp_path, kind, **config)
    tower = tower_of(tmp_path, dtype="float32", body=body)
    assert tower.choice.body == body
    images = pictures(SIZES)
    assert worst(encoded(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-4


def test_pixels_that_fill_no_patch_are_not_looked_at(tmp_path: Path) -> None:
    """Four patches on a side and four pixels beyond them; SmolVLM2-2.2B has 27 and six."""
    model = write_checkpoint(tmp_path, "smolvlm", vision={"image_size": 60, "patch_size": 14}, scale_factor=2)
    tower = tower_of(tmp_path, dtype="float32")
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
    parts = model.model.vision_model, model.model.connector
    assert found.vision_bytes == sum(4 * p.numel() for part in parts for p in part.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__vision_model__extra": torch.ones(3)}, "does not account for: vision_model.extra"),
        ({"model__connector__modality_projection__proj__weight": None}, "no tensor connector.modality_proj"),
        ({"model__connector__modality_projection__proj__weight": torch.ones(3)}, r"is \[3\]; its config"),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")
