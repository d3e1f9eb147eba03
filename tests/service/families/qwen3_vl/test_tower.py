"""Qwen3-VL's tower: levels of DeepStack wherever they lie, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from service.errors import ConfigurationError
from tests.service.families.checkpoints import edit_tensors
from tests.service.families.native.towers import TINY, load
from tests.service.families.rows import worst

TINY_QWEN = TINY["qwen3_vl"]


@pytest.mark.parametrize("levels", [[], [0], [2], [0, 1, 2], [1, 2]], ids=str)
@pytest.mark.parametrize(("backend", "body"), [("cpu", "fused"), ("reference", "transformers")])
def test_equals_transformers(tmp_path: Path, levels: list[int], backend: str, body: str) -> None:
    model = TINY_QWEN.write(tmp_path, vision={"deepstack_visual_indexes": levels})
    tower = load(tmp_path, backend=backend, body=body)
    assert tower.width == 64 * (1 + len(levels))
    assert worst(tower.encode(TINY_QWEN.tiled()), TINY_QWEN.soft_tokens(model)) < 1e-5


def test_the_levels_stand_behind_the_last_layers_row_each_with_its_own_merger(tmp_path: Path) -> None:
    TINY_QWEN.write(tmp_path)
    image = TINY_QWEN.tiled()[2]
    before = load(tmp_path).encode([image])[0]
    bias = "model__visual__deepstack_merger_list__{}__linear_fc2__bias"
    edit_tensors(tmp_path, **{bias.format(0): torch.zeros(64), bias.format(1): torch.ones(64)})
    changed = (load(tmp_path).encode([image])[0] - before).abs().amax(0)
    assert float(changed[:64].max()) < 1e-6
    assert float(changed[64:128].min()) > 1e-6 and float(changed[128:].min()) > 1e-6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_heads": 32}, "hidden_size 32 and num_heads 32; each head needs"),
        ({"out_hidden_size": 24}, "out_hidden_size 24 and the language model's hidden_size is 64"),
        ({"in_channels": 1}, "in_channels 1; needed are 3"),
        ({"num_position_embeddings": 35}, "num_position_embeddings 35; needed is a square number"),
        ({"num_position_embeddings": 0}, "num_position_embeddings 0; needed is a square number"),
        ({"hidden_size": "wide"}, "config.json is not Qwen3-VL's: .*hidden_size"),
    ],
)
def test_a_tower_that_cannot_be_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    TINY_QWEN.write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"] |= fields
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path)


def test_tensors_of_a_level_that_are_missing_or_left_over_are_named(tmp_path: Path) -> None:
    TINY_QWEN.write(tmp_path)
    edit_tensors(tmp_path, model__visual__deepstack_merger_list__1__norm__bias=None)
    for body in ("fused", "transformers"):
        with pytest.raises(ConfigurationError, match=r"has no tensor deepstack_merger_list\.1\.norm\.bias"):
            load(tmp_path, body=body)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"]["deepstack_visual_indexes"] = [0]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match=r"does not account for: deepstack_merger_list\.1"):
        load(tmp_path)
