"""The tower against transformers' `get_image_features`: pictures of any sizes together, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kernels.backend import product_dtype
from service.errors import ConfigurationError
from service.families import load_checkpoint
from service.families.loading import choose_tower
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import error, tiled, worst
from tests.service.tiny import pictures
from tests.service.tiny_lighton_ocr import soft_tokens, write_checkpoint

SIZES = ((56, 56), (112, 28), (97, 61), (640, 480), (33, 300), (200, 1), (1, 1))
NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="default"),
        pytest.param({"released": True}, id="as released"),
        pytest.param({"text": {"rms_norm_eps": 0.1}}, id="the merger's norm has the language model's eps"),
        pytest.param({"vision": {"hidden_act": "gelu"}}, id="gelu"),
        pytest.param({"vision": {"num_attention_heads": 1}}, id="one wide head"),
        pytest.param({"spatial_merge_size": 3}, id="cells of nine"),
    ],
)
@pytest.mark.parametrize(("backend", "body"), [("cpu", "auto"), ("reference", "transformers")])
def test_equals_transformers(tmp_path: Path, config: dict[str, Any], backend: str, body: str) -> None:
    model = write_checkpoint(tmp_path, **config)
    images = pictures(SIZES)
    rows = tower_of(tmp_path, dtype="float32", backend=backend, body=body).encode(tiled(tmp_path, images))
    assert all(one.is_contiguous() for one in rows)
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4


@pytest.mark.parametrize("body", ["transformers", "fused"])
@pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")
def test_bfloat16_is_as_near_to_the_truth_as_transformers_own(tmp_path: Path, body: str) -> None:
    model, images = write_checkpoint(tmp_path), pictures(SIZES)
    truth = torch.cat(soft_tokens(tmp_path, model, images))
    rounded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    theirs = torch.cat(soft_tokens(tmp_path, rounded, images))
    ours = torch.cat(tower_of(tmp_path, dtype="bfloat16", body=body).encode(tiled(tmp_path, images)))
    assert ours.dtype == torch.bfloat16
    assert error(ours, truth) < 0.02
    assert error(ours, truth) < 1.1 * error(theirs, truth)


def test_each_image_has_the_rows_that_it_has_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower, images = tower_of(tmp_path, dtype="float32"), tiled(tmp_path, pictures(SIZES))
    alone = [tower.encode([image])[0] for image in images]
    assert worst(tower.encode(images[::-1]), alone[::-1]) < 1e-5


def test_the_other_side_of_the_contract(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = tower_of(tmp_path, dtype="float32")
    assert (tower.width, len(tower.constants), tower.choice.body) == (64, 0, "fused")
    assert tower.blank(47).tile_count == 9
    tensors = load_file(tmp_path / "model.safetensors")
    own = ("model.vision_encoder.", "model.vision_projection.")
    checkpoint = load_checkpoint(str(tmp_path))
    assert checkpoint.vision_bytes == sum(
        4 * each.numel() for name, each in tensors.items() if name.startswith(own)
    )
    assert (checkpoint.vision_hidden, checkpoint.tied) == (32, True)


def test_frequencies_that_ours_do_not_have_are_left_to_transformers(tmp_path: Path) -> None:
    model = write_checkpoint(
        tmp_path, vision={"rope_parameters": {"rope_type": "axial", "rope_theta": 500.0}}
    )
    assert choose_tower(tmp_path, device="cpu", dtype="float32").body == "transformers"
    images = pictures(SIZES)
    rows = tower_of(tmp_path, dtype="float32").encode(tiled(tmp_path, images))
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_channels": 4}, "num_channels 4; LightOnOCR's is 3"),
        ({"num_attention_heads": 16}, "hidden_size 32 and num_attention_heads 16; each head"),
        (
            {"model_type": "siglip_vision_model"},
            "model_type 'siglip_vision_model'; LightOnOCR's is 'pixtral'",
        ),
        ({"num_hidden_layers": "many"}, "is not LightOnOCR's: .*num_hidden_layers"),
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
        ({"model__vision_encoder__ln_pre__weight": None}, "has no tensor vision_tower.ln_pre.weight"),
        (
            {"model__vision_projection__patch_merger__merging_layer__weight": torch.ones(32, 32)},
            r"\[32, 32\]; its config.json asks for \[32, 128\]",
        ),
        (
            {"model__vision_projection__linear_1__bias": torch.ones(64)},
            "does not account for: multi_modal_projector.linear_1.bias",
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
