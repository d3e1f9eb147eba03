"""Gemma 3's pixels and tower against transformers' own, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Gemma3ImageProcessor

from service.decode.tiling import cut
from service.domain import Detail
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import encoded, worst
from tests.service.tiny import pictures
from tests.service.tiny_gemma3 import soft_tokens, write_checkpoint

SIZES = ((112, 112), (97, 61), (640, 480), (33, 300), (1, 1), (900, 3), (2, 700))


def test_pixels_are_transformers(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    geometry = load_geometry(tmp_path)
    processor = Gemma3ImageProcessor.from_pretrained(tmp_path, do_rescale=False, do_normalize=False)
    for image in pictures(SIZES):
        theirs = processor(images=[image], return_tensors="pt")["pixel_values"]
        (ours,) = cut(torch.from_numpy(np.array(image)), geometry.plan(*image.size, Detail.HIGH).views)
        assert torch.equal(ours, theirs.to(torch.uint8).permute(0, 2, 3, 1)), image.size


@pytest.mark.parametrize("body", ["fused", "transformers"])
@pytest.mark.parametrize("soft", [4, 16, 64])
def test_equals_transformers(tmp_path: Path, soft: int, body: str) -> None:
    model = write_checkpoint(tmp_path, mm_tokens_per_image=soft)
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
        ({"multi_modal_projector__mm_soft_emb_norm__weight": None}, "no tensor .*mm_soft_emb_norm.weight"),
        ({"multi_modal_projector__mm_input_projection_weight": torch.ones(64, 32)}, r"is \[64, 32\]"),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")
