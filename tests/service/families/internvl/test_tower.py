from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kernels.backend import product_dtype
from service.domain import View
from service.errors import ConfigurationError
from service.families.loading import choose_tower
from service.families.towers import Tower, TowerChoice
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import error
from tests.service.tiny_internvl import SIDE, random_tiles, soft_tokens, tiled, write_checkpoint

NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16


def load(folder: Path, dtype: str = "float32", backend: str = "auto", body: str = "auto") -> Tower:
    return tower_of(folder, device="cpu", dtype=dtype, backend=backend, body=body)


def edit(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="default"),
        pytest.param({"vision": {"use_qk_norm": True, "norm_type": "rms_norm"}}, id="6B's norms"),
        pytest.param({"vision": {"attention_bias": True, "use_mean_pooling": False}}, id="bias, last norm"),
        pytest.param({"vision": {"use_absolute_position_embeddings": False}}, id="no positions"),
        pytest.param({"vision": {"use_mask_token": True}}, id="mask token"),
        pytest.param({"downsample_ratio": 0.25}, id="shuffle by 4"),
        pytest.param({"downsample_ratio": 1.0}, id="no shuffle"),
        pytest.param({"vision_feature_layer": -2}, id="last but one layer"),
        pytest.param(
            {"vision_feature_layer": 3, "vision": {"use_mean_pooling": False}}, id="before the norm"
        ),
        pytest.param({"vision_feature_layer": 0}, id="embeddings alone"),
    ],
)
@pytest.mark.parametrize(("backend", "body"), [("cpu", "auto"), ("reference", "transformers")])
def test_equals_transformers(tmp_path: Path, config: dict[str, Any], backend: str, body: str) -> None:
    model = write_checkpoint(tmp_path, **config)
    tiles = random_tiles(5)
    (rows,) = load(tmp_path, backend=backend, body=body).encode([tiled(tiles)])
    assert rows.is_contiguous()
    assert error(rows, soft_tokens(model, tiles)) < 1e-5


@pytest.mark.parametrize(
    "body",
    [
        "transformers",
        pytest.param("fused", marks=pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")),
    ],
)
def test_bfloat16_is_as_near_to_the_truth_as_transformers_own(tmp_path: Path, body: str) -> None:
    model = write_checkpoint(tmp_path)
    tiles = random_tiles(5)
    truth = soft_tokens(model, tiles)
    theirs = soft_tokens(model.to(torch.bfloat16), tiles)
    (ours,) = load(tmp_path, "bfloat16", body=body).encode([tiled(tiles)])
    assert ours.dtype == torch.bfloat16
    assert error(ours, truth) < 0.01
    assert error(ours, truth) < 1.1 * error(theirs, truth)


def test_layers_that_cannot_be_fused_are_left_to_transformers_or_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    assert load(tmp_path).choice.body == "fused"
    assert load(tmp_path, body="transformers").choice.body == "transformers"
    write_checkpoint(tmp_path, vision={"use_qk_norm": True})
    assert load(tmp_path).choice.body == "transformers"
    with pytest.raises(
        ConfigurationError, match="encoder_body: body 'fused' cannot run: .*normalises queries"
    ):
        load(tmp_path, body="fused")
    with pytest.raises(
        ConfigurationError, match="encoder_body: body 'triton' cannot run: .*normalises queries"
    ):
        load(tmp_path, body="triton")


def test_what_is_chosen_is_known_without_the_weights(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    choice = choose_tower(tmp_path, device="cpu", dtype="float32")
    assert (choice.backend, choice.body) == ("cpu", "fused")
    choice = choose_tower(tmp_path, device="cpu", dtype="float16")
    assert (choice.backend, choice.body) == ("cpu", "transformers")
    with pytest.raises(ConfigurationError, match="'fused' cannot run: it multiplies float32 and bfloat16"):
        choose_tower(tmp_path, device="cpu", dtype="float16", body="fused")


def test_a_batch_gives_each_image_its_own_rows_in_the_order_of_its_views(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    images = [
        tiled(random_tiles(4, seed=1), random_tiles(1, seed=2)),
        tiled(random_tiles(1, seed=3)),
        tiled(random_tiles(2, seed=4), random_tiles(1, seed=5)),
    ]
    batch = load(tmp_path).encode(images)
    for rows, image in zip(batch, images, strict=True):
        assert rows.shape == (4 * image.tile_count, 24)
        assert rows.is_contiguous()
        assert error(rows, soft_tokens(model, torch.cat(list(image.tiles)))) < 1e-5


def test_calls_leave_no_tensors_behind(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = load(tmp_path)

    def living() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    tower.encode([tiled(random_tiles(3))])
    before = living()
    for count in (1, 7, 3):
        tower.encode([tiled(random_tiles(count)), tiled(random_tiles(2))])
    assert living() == before


def test_reads_shards_and_names_of_either_generation(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, max_shard_size="20KB")
    index = tmp_path / "model.safetensors.index.json"
    file_of = json.loads(index.read_text())["weight_map"]
    assert len(set(file_of.values())) > 2
    for file in set(file_of.values()):
        tensors = load_file(tmp_path / file)
        assert not any(name.startswith("model.") for name in tensors)
        save_file({f"model.{name}": tensor for name, tensor in tensors.items()}, tmp_path / file)
    index.write_text(json.dumps({"weight_map": {f"model.{name}": file for name, file in file_of.items()}}))
    (rows,) = load(tmp_path).encode([tiled(random_tiles(2))])
    assert error(rows, soft_tokens(model, random_tiles(2))) < 1e-5


def test_reads_nothing_of_the_language_model(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    own = {name: tensor for name, tensor in whole.items() if name.startswith(("vision", "multi"))}
    save_file(own, tmp_path / "tower.safetensors")
    weight_map = {name: "tower.safetensors" if name in own else "not-there.safetensors" for name in whole}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert load(tmp_path).width == 24


def test_weights_are_copies_that_outlive_their_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = load(tmp_path)
    (before,) = tower.encode([tiled(random_tiles(2))])
    file = tmp_path / "model.safetensors"
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size))
    (after,) = tower.encode([tiled(random_tiles(2))])
    assert torch.equal(before, after)


def test_the_other_side_of_the_contract(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = load(tmp_path)
    assert (tower.width, len(tower.constants)) == (24, 0)
    assert tower.choice == TowerChoice(torch.device("cpu"), torch.float32, "cpu", "fused")
    assert [tiles.shape for tiles in tower.blank(35).tiles] == [(2, SIDE, SIDE, 3)]
    assert [tiles.shape for tiles in tower.blank(1).tiles] == [(1, SIDE, SIDE, 3)]
    square = [View(112, 56, 56, 56), View(56, 56, 56, 56)]
    other = [View(28, 28, 28, 28)]
    assert tower.bucket(square) == tower.bucket(square[1:])
    assert tower.bucket(square) != tower.bucket(other)
    with pytest.raises(ValueError, match="takes 56×56 pixels"):
        tower.encode([tiled(random_tiles(1, side=28))])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy 'full'; only 'default'"),
        ({"vision_feature_layer": [-2, -1]}, r"vision_feature_layer \[-2, -1\]"),
        ({"vision_feature_layer": -5}, "vision_feature_layer -5; allowed is one of -4 to 3"),
        ({"downsample_ratio": 0.3}, "downsample_ratio 0.3, which does not divide a grid of 4×4"),
        ({"downsample_ratio": "much"}, "config.json is not InternVL's: .*downsample_ratio"),
        ({"vision_config": {"image_size": [56, 28]}}, "image_size 56×28"),
        ({"vision_config": {"image_size": 56, "num_channels": 4}}, "num_channels 4"),
        (
            {"projector_hidden_act": "tanh"},
            "projector_hidden_act 'tanh'; supported are gelu, gelu_pytorch_tanh",
        ),
        ({"model_type": "mllama"}, "model_type 'mllama'; supported are .*internvl"),
    ],
)
def test_refuses_what_it_cannot_compute(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    write_checkpoint(tmp_path)
    edit(tmp_path / "config.json", **fields)
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path)


NORM = "vision_tower__encoder__layer__1__layernorm_after__weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({NORM: None}, "has no tensor vision_tower.encoder.layer.1.layernorm_after.weight"),
        ({NORM: torch.ones(31)}, r"layernorm_after.weight .* is \[31\]; its config.json asks for \[32\]"),
        ({NORM: torch.ones(32, dtype=torch.int8)}, "torch.int8; quantised towers"),
        ({NORM: torch.ones(32).to(torch.float8_e4m3fn)}, "torch.float8_e4m3fn; quantised towers"),
        ({"multi_modal_projector__linear_3__bias": torch.ones(1)}, "does not account for: multi_modal_proj"),
        ({"vision_tower__embeddings__cls_token": None}, "no tensor vision_tower.embeddings.cls_token"),
    ],
)
def test_refuses_tensors_that_are_not_as_config_says(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "has no config.json"),
        ("preprocessor_config.json", None, "neither preprocessor_config.json nor"),
        ("model.safetensors", None, "has neither model.safetensors nor"),
        ("model.safetensors", b"12345678 no tensors", "cannot be read as safetensors"),
        ("model.safetensors.index.json", b"[]", "has no weight_map"),
    ],
)
def test_names_the_file_that_is_missing_or_broken(
    tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    write_checkpoint(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "abacus"}, "device: got 'abacus'"),
        ({"dtype": "int8"}, "dtype: got 'int8', allowed are float32, bfloat16, float16"),
        ({"backend": "fast"}, "kernels: backend: got 'fast'"),
        ({"backend": "triton"}, "kernels: backend 'triton'"),
        ({"body": "fast"}, "encoder_body: body: got 'fast'"),
    ],
)
def test_refuses_impossible_settings(tmp_path: Path, options: dict[str, str], message: str) -> None:
    write_checkpoint(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, **{"device": "cpu", "dtype": "float32", "backend": "cpu", **options})
