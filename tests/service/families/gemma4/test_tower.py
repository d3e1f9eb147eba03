"""The tower against transformers' `get_image_features`: pictures of any sizes together, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kernels.backend import product_dtype
from service.domain import Detail
from service.errors import ConfigurationError
from service.families import load_checkpoint
from service.families.loading import choose_tower
from service.families.towers import TileTower
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import error, tiled, worst
from tests.service.tiny import pictures
from tests.service.tiny_gemma4 import soft_tokens, write_checkpoint

SIZES = ((60, 60), (97, 61), (640, 480), (33, 300), (200, 1), (1, 1))
NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="default"),
        pytest.param({"vision": {"standardize": True}}, id="standardised"),
        pytest.param({"vision": {"use_clipped_linears": True}}, id="clipped linears"),
        pytest.param({"vision": {"num_key_value_heads": 1}}, id="grouped heads"),
        pytest.param({"vision": {"pooling_kernel_size": 2}}, id="four patches a cell"),
        pytest.param({"processor": {"max_soft_tokens": 70}}, id="a smaller budget"),
        pytest.param(
            {
                "processor": {
                    "do_normalize": True,
                    "image_mean": [0.1, 0.2, 0.3],
                    "image_std": [0.5, 0.6, 0.7],
                }
            },
            id="a processor that normalises",
        ),
    ],
)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_equals_transformers(tmp_path: Path, config: dict[str, Any], backend: str) -> None:
    model = write_checkpoint(tmp_path, **config)
    images = pictures(SIZES)
    rows = tower_of(tmp_path, dtype="float32", backend=backend).encode(tiled(tmp_path, images))
    assert all(one.is_contiguous() for one in rows)
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4


def test_low_is_the_smallest_budget(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    images = pictures(SIZES)
    rows = tower_of(tmp_path, dtype="float32").encode(tiled(tmp_path, images, Detail.LOW))
    assert worst(rows, soft_tokens(tmp_path, model, images, max_soft_tokens=70)) < 1e-4


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")
def test_bfloat16_is_as_near_to_the_truth_as_transformers_own(tmp_path: Path, standardize: bool) -> None:
    model = write_checkpoint(tmp_path, vision={"standardize": standardize})
    images = pictures(SIZES)
    truth = torch.cat(soft_tokens(tmp_path, model, images))
    theirs = torch.cat(
        soft_tokens(tmp_path, type(model).from_pretrained(tmp_path, dtype=torch.bfloat16), images)
    )
    ours = torch.cat(tower_of(tmp_path, dtype="bfloat16").encode(tiled(tmp_path, images)))
    assert ours.dtype == torch.bfloat16
    assert error(ours, truth) < 1.1 * error(theirs, truth)


def test_each_image_has_the_rows_that_it_has_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower, images = tower_of(tmp_path, dtype="float32"), tiled(tmp_path, pictures(SIZES))
    alone = [tower.encode([image])[0] for image in images]
    assert worst(tower.encode(images), alone) < 1e-5
    assert worst(tower.encode(images[::-1]), alone[::-1]) < 1e-5


def test_reads_names_with_and_without_the_models_own(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    own = [name for name in tensors if name.startswith(("model.vision_tower.", "model.embed_vision."))]
    assert "model.vision_tower.patch_embedder.input_proj.weight" in own
    older = {name.removeprefix("model.") if name in own else name: tensor for name, tensor in tensors.items()}
    save_file(older, tmp_path / "model.safetensors")
    images = pictures(SIZES)
    rows = tower_of(tmp_path, dtype="float32").encode(tiled(tmp_path, images))
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4


def test_the_other_side_of_the_contract(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = tower_of(tmp_path, dtype="float32")
    assert (tower.width, len(tower.constants), tower.choice.body) == (64, 0, "transformers")
    assert not isinstance(tower, TileTower)
    assert tower.blank(95).tile_count == 9
    checkpoint = load_checkpoint(str(tmp_path))
    own = sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
        if name.startswith(("model.vision_tower.", "model.embed_vision."))
    )
    assert (checkpoint.vision_bytes, checkpoint.vision_hidden) == (own, 32)


def test_our_own_blocks_are_refused_by_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    with pytest.raises(ConfigurationError, match="body 'fused' cannot run: .*Gemma4VisionEncoderLayer"):
        choose_tower(tmp_path, device="cpu", dtype="float32", body="fused")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head_dim": 6}, "head_dim 6 in its vision_config; each head needs a multiple of four"),
        ({"num_hidden_layers": "many"}, "is not Gemma 4's: .*num_hidden_layers"),
        (
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 9.0, "factor": 2.0}},
            "rope_type 'linear'; needed",
        ),
    ],
)
def test_refuses_what_it_cannot_compute(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    write_checkpoint(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["vision_config"].update(fields)
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__vision_tower__patch_embedder__position_embedding_table": None},
            "has no tensor vision_tower.patch_embedder.position_embedding_table",
        ),
        (
            {"model__embed_vision__embedding_projection__weight": torch.ones(32, 32)},
            r"\[32, 32\]; its config.json asks for \[64, 32\]",
        ),
        (
            {"model__vision_tower__std_bias": torch.ones(32)},
            "does not account for: vision_tower.std_bias",
        ),
    ],
)
def test_refuses_tensors_that_are_not_as_config_says(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")
