"""The tower against transformers' `get_image_features`: pictures of any sizes together, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kernels.backend import product_dtype
from service.errors import ConfigurationError
from service.families import load_checkpoint
from service.families.loading import choose_tower
from service.families.towers import TileTower
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import error, tiled, worst
from tests.service.tiny import pictures
from tests.service.tiny_pixtral import soft_tokens, write_checkpoint

SIZES = ((56, 56), (112, 28), (97, 61), (640, 480), (33, 300), (200, 1), (1, 1))
NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16


def edit(folder: Path, part: str, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (config[part] if part else config).update(fields)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("merges", [True, False], ids=["mistral3", "pixtral"])
@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="default"),
        pytest.param({"vision_feature_layer": -2}, id="last layer but one"),
        pytest.param({"vision_feature_layer": [2]}, id="second layer, in a list"),
        pytest.param({"multimodal_projector_bias": True}, id="bias"),
        pytest.param({"multimodal_projector_bias": False}, id="no bias"),
        pytest.param({"vision": {"hidden_act": "gelu"}}, id="gelu"),
        pytest.param({"vision": {"num_attention_heads": 1}}, id="one wide head"),
    ],
)
@pytest.mark.parametrize(("backend", "body"), [("cpu", "auto"), ("reference", "transformers")])
def test_equals_transformers(
    tmp_path: Path, merges: bool, config: dict[str, Any], backend: str, body: str
) -> None:
    model = write_checkpoint(tmp_path, merges=merges, **config)
    images = pictures(SIZES)
    rows = tower_of(tmp_path, dtype="float32", backend=backend, body=body).encode(tiled(tmp_path, images))
    assert all(one.is_contiguous() for one in rows)
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4


def test_patches_are_merged_by_the_checkpoints_number(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, spatial_merge_size=3)
    images = pictures(SIZES)
    rows = tower_of(tmp_path, dtype="float32").encode(tiled(tmp_path, images))
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4


@pytest.mark.parametrize("merges", [True, False], ids=["mistral3", "pixtral"])
@pytest.mark.parametrize("body", ["transformers", "fused"])
@pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")
def test_bfloat16_is_as_near_to_the_truth_as_transformers_own(
    tmp_path: Path, merges: bool, body: str
) -> None:
    model = write_checkpoint(tmp_path, merges=merges)
    images = pictures(SIZES)
    truth = torch.cat(soft_tokens(tmp_path, model, images))
    theirs = torch.cat(
        soft_tokens(tmp_path, type(model).from_pretrained(tmp_path, dtype=torch.bfloat16), images)
    )
    ours = torch.cat(tower_of(tmp_path, dtype="bfloat16", body=body).encode(tiled(tmp_path, images)))
    assert ours.dtype == torch.bfloat16
    assert error(ours, truth) < 0.02
    assert error(ours, truth) < 1.1 * error(theirs, truth)


def test_each_image_has_the_rows_that_it_has_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower, images = tower_of(tmp_path, dtype="float32"), tiled(tmp_path, pictures(SIZES))
    alone = [tower.encode([image])[0] for image in images]
    assert worst(tower.encode(images), alone) < 1e-5
    assert worst(tower.encode(images[::-1]), alone[::-1]) < 1e-5


def test_reads_names_of_either_generation(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    own = [name for name in tensors if name.startswith(("vision_tower.", "multi_modal_projector."))]
    assert "vision_tower.patch_conv.weight" in own
    assert "vision_tower.transformer.layers.0.attention.q_proj.weight" in own
    assert "multi_modal_projector.patch_merger.merging_layer.weight" in own
    newer = {f"model.{name}" if name in own else name: tensor for name, tensor in tensors.items()}
    save_file(newer, tmp_path / "model.safetensors")
    images = pictures(SIZES)
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
        if name.startswith(("vision_tower.", "multi_modal_projector."))
    )
    assert (checkpoint.vision_bytes, checkpoint.vision_hidden) == (own, 32)


def test_frequencies_that_ours_do_not_have_are_left_to_transformers(tmp_path: Path) -> None:
    rope = {"rope_parameters": {"rope_type": "axial", "rope_theta": 500.0}}
    model = write_checkpoint(tmp_path, vision=rope)
    assert choose_tower(tmp_path, device="cpu", dtype="float32").body == "transformers"
    images = pictures(SIZES)
    rows = tower_of(tmp_path, dtype="float32").encode(tiled(tmp_path, images))
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4
    with pytest.raises(
        ConfigurationError, match="encoder_body: body 'fused' cannot run: .*rope_theta is 500"
    ):
        choose_tower(tmp_path, device="cpu", dtype="float32", body="fused")


@pytest.mark.parametrize(
    ("merges", "part", "fields", "message"),
    [
        (True, "vision_config", {"num_channels": 4}, "num_channels 4; needed are 3"),
        (True, "vision_config", {"num_attention_heads": 16}, "hidden_size 32 and num_attention_heads 16"),
        (True, "vision_config", {"model_type": "siglip_vision_model"}, "needed is 'pixtral'"),
        (True, "vision_config", {"num_hidden_layers": "many"}, "is not Pixtral's: .*num_hidden_layers"),
        (True, "", {"vision_feature_layer": -4}, "vision_feature_layer -4; allowed is one number from -3"),
        (True, "", {"vision_feature_layer": [-1, -2]}, r"vision_feature_layer \[-1, -2\]; allowed is one"),
        (True, "", {"projector_hidden_act": "tanh"}, "projector_hidden_act 'tanh'; supported are gelu"),
        (
            False,
            "",
            {"vision_feature_select_strategy": "default"},
            "vision_feature_select_strategy 'default', which drops",
        ),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, merges: bool, part: str, fields: dict[str, Any], message: str
) -> None:
    write_checkpoint(tmp_path, merges=merges)
    edit(tmp_path, part, **fields)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_tower__ln_pre__weight": None}, "has no tensor vision_tower.ln_pre.weight"),
        (
            {"multi_modal_projector__patch_merger__merging_layer__weight": torch.ones(32, 32)},
            r"\[32, 32\]; its config.json asks for \[32, 128\]",
        ),
        (
            {"vision_tower__transformer__layers__3__ffn_norm__weight": torch.ones(32)},
            "does not account for: vision_tower.transformer.layers.3",
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
