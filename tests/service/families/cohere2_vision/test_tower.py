"""Command A Vision's tower against transformers' own, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from service.domain import Detail
from service.errors import ConfigurationError
from service.families import load_checkpoint
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import encoded, tiled, worst
from tests.service.tiny import pictures
from tests.service.tiny_cohere2_vision import SIDE, TOKENS, soft_tokens, write_checkpoint

SIZES = ((56, 56), (97, 61), (640, 480), (33, 300), (1, 1), (900, 3), (2, 700))
FIRST = "model__multi_modal_projector__linear_1"


@pytest.mark.parametrize("body", ["fused", "transformers"])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"vision": {"image_size": 60, "patch_size": 14}},
        {"vision": {"image_size": 60, "patch_size": 2}, "downsample_factor": 3},
        {"downsample_factor": 1, "alignment_intermediate_size": 34},
    ],
    ids=["by twos", "pixels that fill no patch", "30 by threes", "no shuffle"],
)
def test_equals_transformers(tmp_path: Path, config: dict[str, Any], body: str) -> None:
    model = write_checkpoint(tmp_path, **config)
    tower = tower_of(tmp_path, dtype="float32", body=body)
    assert tower.choice.body == body
    images = pictures(SIZES)
    assert worst(encoded(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-4


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_in_bfloat16_it_is_no_farther_off_than_one_in_a_hundred(tmp_path: Path, backend: str) -> None:
    model = write_checkpoint(tmp_path)
    images = pictures(SIZES)
    tower = tower_of(tmp_path, dtype="bfloat16", backend=backend)
    assert worst(encoded(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-2


def test_an_image_is_encoded_alike_in_any_company(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = tower_of(tmp_path, dtype="float32")
    images = tiled(tmp_path, pictures(SIZES)) + tiled(tmp_path, pictures(SIZES[:3]), Detail.LOW)
    together = tower.encode(images)
    assert {tower.bucket(image.views) for image in images} == {tower.bucket(images[0].views)}
    for image, rows in zip(images, together, strict=True):
        assert len(rows) == image.rows == image.tile_count * SIDE**2
        (alone,) = tower.encode([image])
        assert worst([rows], [alone]) < 1e-6


def test_the_towers_bytes_are_told_from_the_language_models(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    found = load_checkpoint(str(tmp_path))
    parts = model.model.vision_tower, model.model.multi_modal_projector
    assert found.vision_bytes == sum(4 * p.numel() for part in parts for p in part.parameters())
    assert found.text_bytes == sum(4 * p.numel() for p in model.model.language_model.parameters())
    assert found.tied and TOKENS["<|IMG_PATCH|>"] < found.text_config["vocab_size"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__vision_tower__extra": torch.ones(3)}, "does not account for: vision_tower.extra"),
        ({f"{FIRST}__weight": None}, "no tensor multi_modal_projector.linear_1.weight"),
        ({f"{FIRST}__bias": None}, "no tensor multi_modal_projector.linear_1.bias"),
        ({f"{FIRST}__weight": torch.ones(3)}, r"linear_1.weight in .* is \[3\]; its config"),
        ({"model__multi_modal_projector__linear_2__bias": None}, "no tensor .*linear_2.bias"),
        ({f"{FIRST}__bias": torch.ones(80, dtype=torch.int8)}, "quantised towers are not supported"),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")


def test_refuses_a_projector_without_two_halves(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(
        file.read_text().replace('"alignment_intermediate_size": 80', '"alignment_intermediate_size": 81')
    )
    with pytest.raises(ConfigurationError, match="alignment_intermediate_size 81; needed is an even number"):
        tower_of(tmp_path, dtype="float32")
