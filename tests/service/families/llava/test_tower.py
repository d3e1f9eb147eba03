"""LLaVA's tower against transformers' own, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels.backend import product_dtype
from service.errors import ConfigurationError
from service.families import load_checkpoint
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import encoded, worst
from tests.service.tiny import pictures
from tests.service.tiny_llava import soft_tokens, write_checkpoint

SIZES = ((56, 56), (97, 61), (640, 480), (33, 300), (300, 33), (1, 1))
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False}


@pytest.mark.parametrize("body", ["fused", "transformers"])
@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="default"),
        pytest.param({"vision_feature_layer": -1}, id="last layer"),
        pytest.param({"vision_feature_layer": 1}, id="first layer"),
        pytest.param({"vision_feature_layer": 0}, id="embeddings"),
        pytest.param({"vision_feature_layer": [-1, 0, -3]}, id="several layers"),
        pytest.param({"vision_feature_select_strategy": "full"}, id="class token"),
        pytest.param({"multimodal_projector_bias": False}, id="no bias"),
        pytest.param({"vision": SIGLIP, "vision_feature_select_strategy": "full"}, id="siglip"),
    ],
)
def test_equals_transformers(tmp_path: Path, config: dict[str, Any], body: str) -> None:
    model = write_checkpoint(tmp_path, anyres=False, **config)
    tower = tower_of(tmp_path, dtype="float32", body=body)
    assert tower.choice.body == body
    images = pictures(SIZES)
    assert worst(encoded(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-4


def test_in_bfloat16_it_is_no_farther_off_than_one_in_a_hundred(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, anyres=False)
    images = pictures(SIZES)
    assert product_dtype(torch.bfloat16, "cpu") in (torch.bfloat16, torch.float32)
    tower = tower_of(tmp_path, dtype="bfloat16")
    assert worst(encoded(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-2


def test_the_towers_bytes_are_told_from_the_language_models(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, anyres=False)
    found = load_checkpoint(str(tmp_path))
    parts = model.model.vision_tower, model.model.multi_modal_projector
    assert found.vision_bytes == sum(4 * p.numel() for part in parts for p in part.parameters())
    assert found.text_bytes == 4 * model.num_parameters() - found.vision_bytes


PREFIX = "vision_tower__vision_model"


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ({"vision_feature_layer": 4}, {}, "vision_feature_layer 4; allowed are numbers from -4 to 3"),
        ({"vision_feature_layer": [-2, -5]}, {}, r"vision_feature_layer \[-2, -5\]"),
        ({"projector_hidden_act": "tanh"}, {}, "projector_hidden_act 'tanh'; supported are"),
        (
            {},
            {f"{PREFIX}__embeddings__class_embedding": None},
            "no tensor vision_tower.embeddings.class_embedding",
        ),
        ({}, {f"{PREFIX}__extra": torch.ones(3)}, "does not account for: vision_tower.extra"),
        (
            {},
            {"multi_modal_projector__linear_1__bias": torch.ones(3)},
            r"is \[3\]; its config.json asks for \[64\]",
        ),
        ({}, {"image_newline": torch.ones(64)}, "does not account for: image_newline"),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, config: dict[str, Any], changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_checkpoint(tmp_path, anyres=False)
    edit_tensors(tmp_path, **changes)
    if config:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")
