"""The tower against transformers' `get_image_features`: pictures of any sizes together, and what it refuses."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from kernels.backend import product_dtype
from service.decode.tiling import cut
from service.domain import View
from service.errors import ConfigurationError
from service.families.loading import choose_tower
from service.families.qwen_vl.resize import smart_resize
from service.families.towers import TiledImage, TileTower, Tower, TowerChoice
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.tiny_qwen_vl import CELL, MAX_PIXELS, MIN_PIXELS, pictures, soft_tokens, write_checkpoint

NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.float() - expected.float()).norm() / expected.float().norm())


def load(folder: Path, dtype: str = "float32", backend: str = "auto", body: str = "auto") -> Tower:
    return tower_of(folder, device="cpu", dtype=dtype, backend=backend, body=body)


def edit(file: Path, part: str, **fields: Any) -> None:
    config = json.loads(file.read_text())
    (config[part] if part else config).update(fields)
    file.write_text(json.dumps(config))


def tiled(image: Image.Image) -> TiledImage:
    width, height = smart_resize(*image.size, CELL, MIN_PIXELS, MAX_PIXELS)
    view = View(width, height, CELL, CELL)
    return TiledImage([view], cut(torch.from_numpy(np.array(image)), [view]), view.tiles)


def worst(rows: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    assert [one.shape for one in rows] == [one.shape for one in expected]
    return max(map(error, rows, expected))


@pytest.mark.parametrize(
    "vision",
    [
        pytest.param({}, id="default"),
        pytest.param({"fullatt_block_indexes": [0, 1, 2]}, id="whole images alone"),
        pytest.param({"fullatt_block_indexes": []}, id="windows alone"),
        pytest.param({"window_size": 56}, id="windows of four cells"),
        pytest.param({"intermediate_size": 64}, id="a width that needs no padding"),
    ],
)
@pytest.mark.parametrize(("backend", "body"), [("cpu", "auto"), ("reference", "transformers")])
def test_equals_transformers(tmp_path: Path, vision: dict[str, Any], backend: str, body: str) -> None:
    model = write_checkpoint(tmp_path, vision=vision)
    images = pictures()
    rows = load(tmp_path, backend=backend, body=body).encode(list(map(tiled, images)))
    assert all(one.is_contiguous() for one in rows)
    assert worst(rows, soft_tokens(model, images)) < 1e-5


@pytest.mark.parametrize("body", ["transformers", "fused"])
@pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")
def test_bfloat16_is_as_near_to_the_truth_as_transformers_own(tmp_path: Path, body: str) -> None:
    model = write_checkpoint(tmp_path)
    images = pictures()
    truth = torch.cat(soft_tokens(model, images))
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    theirs = torch.cat(soft_tokens(loaded, images))
    ours = torch.cat(load(tmp_path, "bfloat16", body=body).encode(list(map(tiled, images))))
    assert ours.dtype == torch.bfloat16
    assert error(ours, truth) < 0.02
    assert error(ours, truth) < 1.1 * error(theirs, truth)


def test_float16_runs_too(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    rows = load(tmp_path, "float16").encode(list(map(tiled, pictures())))
    assert worst(rows, soft_tokens(model, pictures())) < 0.01


def test_each_image_has_the_rows_that_it_has_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = load(tmp_path)
    images = list(map(tiled, pictures()))
    alone = [tower.encode([image])[0] for image in images]
    assert worst(tower.encode(images), alone) < 1e-5
    assert worst(tower.encode(images[::-1]), alone[::-1]) < 1e-5


def test_calls_leave_no_tensors_behind(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower, images = load(tmp_path), list(map(tiled, pictures()))

    def living() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    tower.encode(images)
    before = living()
    for number in range(3):
        tower.encode(images[number:])
    assert living() == before


def test_the_other_side_of_the_contract(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = load(tmp_path)
    assert (tower.width, len(tower.constants)) == (64, 0)
    assert tower.choice == TowerChoice(torch.device("cpu"), torch.float32, "cpu", "fused")
    assert not isinstance(tower, TileTower)
    assert len({tower.bucket(tiled(image).views) for image in pictures()}) == 1
    for patches, cells in ((1, 1), (4, 1), (47, 9), (256, 64), (8192, 2025)):
        blank = tower.blank(patches)
        assert blank.tile_count == blank.rows <= max(1, patches // 4)
        assert blank.tile_count >= 0.9 * cells
    assert len(tower.encode([tower.blank(50)])[0]) == tower.blank(50).rows


def test_tiles_of_another_form_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower, image = load(tmp_path), tiled(pictures()[0])
    (cells,) = image.tiles
    for tiles in ([cells[1:]], [cells, cells], [cells[:, :14]]):
        with pytest.raises(ValueError, match="one view of 4 cells of 28×28 pixels"):
            tower.encode([TiledImage(image.views, tiles, image.rows)])


def test_reads_shards_and_names_of_either_generation(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, max_shard_size="30KB")
    index = tmp_path / "model.safetensors.index.json"
    file_of = json.loads(index.read_text())["weight_map"]
    assert len(set(file_of.values())) > 2
    for file in set(file_of.values()):
        tensors = load_file(tmp_path / file)
        assert not any(name.startswith("model.visual") for name in tensors)
        save_file({_newer(name): tensor for name, tensor in tensors.items()}, tmp_path / file)
    index.write_text(json.dumps({"weight_map": {_newer(name): file for name, file in file_of.items()}}))
    rows = load(tmp_path).encode(list(map(tiled, pictures())))
    assert worst(rows, soft_tokens(model, pictures())) < 1e-5


def _newer(name: str) -> str:
    return f"model.{name}" if name.startswith("visual.") else name


def test_reads_the_configuration_of_the_hub(tmp_path: Path) -> None:
    """Where the language model's fields lie beside the tower's, not in a part of their own."""
    model = write_checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    text = {name: value for name, value in config.pop("text_config").items() if name != "model_type"}
    (tmp_path / "config.json").write_text(json.dumps({**text, **config}))
    rows = load(tmp_path).encode(list(map(tiled, pictures())))
    assert worst(rows, soft_tokens(model, pictures())) < 1e-5


def test_what_is_chosen_is_known_without_the_weights(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    choice = choose_tower(tmp_path, device="cpu", dtype="float32")
    assert (choice.backend, choice.body) == ("cpu", "fused")
    choice = choose_tower(tmp_path, device="cpu", dtype="float16", body="transformers")
    assert (choice.backend, choice.body) == ("cpu", "transformers")
    with pytest.raises(ConfigurationError, match="encoder_body: body 'compiled' is for towers that compute"):
        choose_tower(tmp_path, device="cpu", dtype="float32", body="compiled")


def test_layers_that_cannot_be_packed_are_left_to_transformers_or_refused(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, vision={"hidden_act": "gelu"})
    tower = load(tmp_path)
    assert tower.choice.body == "transformers"
    assert worst(tower.encode(list(map(tiled, pictures()))), soft_tokens(model, pictures())) < 1e-5
    with pytest.raises(ConfigurationError, match="encoder_body: body 'fused' cannot run: .*GELU"):
        load(tmp_path, body="fused")


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("vision_config", {"in_channels": 4}, "in_channels 4; needed are 3"),
        ("vision_config", {"num_heads": 32}, "hidden_size 32 and num_heads 32; each head needs"),
        ("vision_config", {"window_size": 27}, "window_size 27; needed are at least the 28 pixels"),
        ("vision_config", {"out_hidden_size": 24}, "out_hidden_size 24 and the language model's .* is 64"),
        ("vision_config", {"depth": "many"}, "config.json is not Qwen2.5-VL's: .*depth"),
        ("", {"model_type": "mllama"}, "model_type 'mllama'; supported are internvl, llava"),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, part: str, fields: dict[str, Any], message: str
) -> None:
    write_checkpoint(tmp_path)
    edit(tmp_path / "config.json", part, **fields)
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visual__blocks__1__norm2__weight": None}, "has no tensor blocks.1.norm2.weight"),
        ({"visual__merger__ln_q__weight": torch.ones(31)}, r"\[31\]; its config.json asks for \[32\]"),
        ({"visual__patch_embed__proj__weight": torch.ones(32, 3, 14, 14)}, "asks for .*3, 2, 14, 14"),
        ({"visual__blocks__3__norm1__weight": torch.ones(32)}, "does not account for: blocks.3.norm1"),
    ],
)
@pytest.mark.parametrize("body", ["fused", "transformers"])
def test_refuses_tensors_that_are_not_as_config_says(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str, body: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path, body=body)
