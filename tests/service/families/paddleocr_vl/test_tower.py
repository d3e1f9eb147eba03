"""The tower against transformers' `get_image_features`: pictures of any sizes together, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from kernels.backend import product_dtype
from kernels.varlen import Grid, pack
from service.errors import ConfigurationError
from service.families import load_checkpoint
from service.families.loading import choose_tower
from service.families.paddleocr_vl.positions import resample
from service.families.towers import TileTower
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import error, tiled, worst
from tests.service.tiny_paddleocr_vl import soft_tokens, write_checkpoint
from tests.service.tiny_qwen_vl import SIZES, pictures

NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16


def drawn() -> list[Image.Image]:
    return pictures((*SIZES, (200, 2), (2, 2)))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="default"),
        pytest.param({"hidden_act": "gelu"}, id="gelu"),
        pytest.param({"image_size": 14}, id="a table of one position"),
        pytest.param({"image_size": 280}, id="a table that is mostly larger than images"),
        pytest.param({"layer_norm_eps": 0.5}, id="another epsilon"),
    ],
)
@pytest.mark.parametrize(("backend", "body"), [("cpu", "auto"), ("reference", "transformers")])
def test_equals_transformers(tmp_path: Path, config: dict[str, Any], backend: str, body: str) -> None:
    model = write_checkpoint(tmp_path, vision=config)
    images = drawn()
    tower = tower_of(tmp_path, dtype="float32", backend=backend, body=body)
    assert tower.choice.body == ("fused" if body == "auto" else body)
    rows = tower.encode(tiled(tmp_path, images))
    assert all(one.is_contiguous() for one in rows)
    # near enough to tell one epsilon of a norm from another
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 3e-6


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (5, 5), (1, 9), (13, 2), (40, 31)])
@pytest.mark.parametrize("side", [1, 5, 27])
def test_positions_are_those_of_the_released_code(side: int, grid: tuple[int, int]) -> None:
    table = torch.randn(side * side, 8, generator=torch.Generator().manual_seed(3))
    rows, columns = grid
    square = table.T.view(1, 8, side, side)
    whole = F.interpolate(square, size=(2 * rows, 2 * columns), mode="bilinear", align_corners=False)
    # patches cell by cell, as the tower has them
    expected = whole.view(8, rows, 2, columns, 2).permute(1, 3, 2, 4, 0).reshape(-1, 8)
    found = resample(table, pack([Grid(*grid)], merge=2, window=None, device=torch.device("cpu")))
    assert torch.allclose(found, expected, atol=1e-5)


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
    assert {"mlp_AR.linear_1.weight", "visual.vision_model.post_layernorm.weight"} <= tensors.keys()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    images = drawn()
    rows = tower_of(tmp_path, dtype="float32").encode(tiled(tmp_path, images))
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-5


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
        if name.startswith(("visual.", "mlp_AR."))
    )
    assert (checkpoint.vision_bytes, checkpoint.vision_hidden) == (own, 32)


@pytest.mark.parametrize(
    ("fields", "obstacle"),
    [
        (
            {"rope_parameters": {"rope_type": "axial", "rope_theta": 5000.0}},
            "rope_theta is 5000, known is 10000",
        ),
        ({"hidden_act": "mish"}, "the tower's layer is another: .*Mish"),
    ],
)
def test_layers_that_our_blocks_do_not_know_are_left_to_transformers(
    tmp_path: Path, fields: dict[str, Any], obstacle: str
) -> None:
    model = write_checkpoint(tmp_path, vision=fields)
    tower = tower_of(tmp_path, dtype="float32")
    assert tower.choice.body == "transformers"
    images = drawn()
    rows = tower.encode(tiled(tmp_path, images))
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-5
    with pytest.raises(ConfigurationError, match=obstacle):
        choose_tower(tmp_path, device="cpu", dtype="float32", body="fused")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_channels": 4}, "num_channels 4; needed are 3"),
        (
            {"num_attention_heads": 16},
            "hidden_size 32 and num_attention_heads 16 in vision_config; each head",
        ),
        ({"num_hidden_layers": 0}, "num_hidden_layers 0 in vision_config; needed is 1 at least"),
        ({"image_size": 13}, "image_size 13 and patch_size 14; needed is a patch at least"),
        ({"num_hidden_layers": "many"}, "is not PaddleOCR-VL's: .*num_hidden_layers"),
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
        ({"mlp_AR__pre_norm__weight": None}, "has no tensor projector.pre_norm.weight"),
        (
            {"visual__vision_model__embeddings__position_embedding__weight": torch.ones(16, 32)},
            r"\[16, 32\]; its config.json asks for \[25, 32\]",
        ),
        ({"mlp_AR__linear_2__bias": torch.ones(32)}, r"\[32\]; its config.json asks for \[64\]"),
        (
            {"visual__vision_model__encoder__layers__3__layer_norm1__weight": torch.ones(32)},
            "does not account for: encoder.layers.3.layer_norm1",
        ),
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
