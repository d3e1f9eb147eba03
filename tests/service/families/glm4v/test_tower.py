"""The tower against transformers' `get_image_features`: pictures of any sizes together, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from kernels.backend import product_dtype
from service.errors import ConfigurationError
from service.families import load_checkpoint
from service.families.towers import TileTower
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import error, tiled, worst
from tests.service.tiny_glm4v import soft_tokens, write_checkpoint
from tests.service.tiny_qwen_vl import SIZES, pictures

NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16


def drawn() -> list[Image.Image]:
    return pictures((*SIZES, (200, 1), (1, 1)))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="default"),
        pytest.param({"experts": True}, id="experts"),
        pytest.param({"vision": {"attention_bias": True}}, id="biases"),
        pytest.param({"vision": {"hidden_act": "gelu"}}, id="gelu"),
        pytest.param({"vision": {"image_size": 28}}, id="a table of four positions"),
    ],
)
@pytest.mark.parametrize(("backend", "body"), [("cpu", "auto"), ("reference", "transformers")])
def test_equals_transformers(tmp_path: Path, config: dict[str, Any], backend: str, body: str) -> None:
    model = write_checkpoint(tmp_path, **config)
    images = drawn()
    rows = tower_of(tmp_path, dtype="float32", backend=backend, body=body).encode(tiled(tmp_path, images))
    assert all(one.is_contiguous() for one in rows)
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4


@pytest.mark.parametrize("body", ["transformers", "fused"])
@pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")
def test_bfloat16_is_as_near_to_the_truth_as_transformers_own(tmp_path: Path, body: str) -> None:
    model = write_checkpoint(tmp_path)
    images = drawn()
    truth = torch.cat(soft_tokens(tmp_path, model, images))
    rounded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    theirs = torch.cat(soft_tokens(tmp_path, rounded, images))
    ours = torch.cat(tower_of(tmp_path, dtype="bfloat16", body=body).encode(tiled(tmp_path, images)))
    assert ours.dtype == torch.bfloat16
    assert error(ours, truth) < 0.02
    assert error(ours, truth) < 1.1 * error(theirs, truth)


def test_each_image_has_the_rows_that_it_has_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower, images = tower_of(tmp_path, dtype="float32"), tiled(tmp_path, drawn())
    alone = [tower.encode([image])[0] for image in images]
    assert worst(tower.encode(images), alone) < 1e-5
    assert worst(tower.encode(images[::-1]), alone[::-1]) < 1e-5


def test_reads_names_of_either_generation(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert "model.visual.downsample.weight" in tensors
    save_file(
        {name.removeprefix("model.") if "visual." in name else name: each for name, each in tensors.items()},
        tmp_path / "model.safetensors",
    )
    images = drawn()
    rows = tower_of(tmp_path, dtype="float32").encode(tiled(tmp_path, images))
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4


def test_the_other_side_of_the_contract(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = tower_of(tmp_path, dtype="float32")
    assert (tower.width, len(tower.constants), tower.choice.body) == (64, 0, "fused")
    assert not isinstance(tower, TileTower)
    assert tower.blank(47).tile_count == 9
    checkpoint = load_checkpoint(str(tmp_path))
    own = sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
        if "visual." in name
    )
    assert (checkpoint.vision_bytes, checkpoint.vision_hidden) == (own, 32)
    assert checkpoint.vision_config["intermediate_size"] == 64


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"in_channels": 4}, "in_channels 4; needed are 3"),
        ({"num_heads": 16}, "hidden_size 32 and num_heads 16; each head needs"),
        ({"out_hidden_size": 24}, "out_hidden_size 24 and the language model's .* is 64"),
        ({"depth": "many"}, "is not GLM-4.1V's: .*depth"),
    ],
)
def test_refuses_what_it_cannot_compute(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    write_checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"].update(fields)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__visual__post_layernorm__weight": None}, "has no tensor post_layernorm.weight"),
        (
            {"model__visual__embeddings__position_embedding__weight": torch.ones(16, 32)},
            r"\[16, 32\]; its config.json asks for \[25, 32\]",
        ),
        ({"model__visual__blocks__3__norm1__weight": torch.ones(32)}, "does not account for: blocks.3.norm1"),
    ],
)
@pytest.mark.parametrize("body", ["fused", "transformers"])
def test_refuses_tensors_that_are_not_as_config_says(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str, body: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32", body=body)
