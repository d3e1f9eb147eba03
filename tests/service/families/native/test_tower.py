"""The towers against transformers' `get_image_features`: pictures of any sizes together, and what they refuse."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kernels.backend import product_dtype
from service.errors import ConfigurationError
from service.families.loading import choose_tower
from service.families.towers import TiledImage, TileTower, TowerChoice
from tests.service.families.checkpoints import edit_tensors
from tests.service.families.native.towers import TINY, Tiny, load
from tests.service.families.rows import error, worst

NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16
EACH = pytest.mark.parametrize("tiny", TINY.values(), ids=TINY.keys())


@EACH
@pytest.mark.parametrize(("backend", "body"), [("cpu", "auto"), ("reference", "transformers")])
def test_equals_transformers(tmp_path: Path, tiny: Tiny, backend: str, body: str) -> None:
    model = tiny.write(tmp_path)
    rows = load(tmp_path, backend=backend, body=body).encode(tiny.tiled())
    assert all(one.is_contiguous() for one in rows)
    assert worst(rows, tiny.soft_tokens(model)) < 1e-5


@EACH
@pytest.mark.parametrize("body", ["transformers", "fused"])
@pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")
def test_bfloat16_is_as_near_to_the_truth_as_transformers_own(tmp_path: Path, tiny: Tiny, body: str) -> None:
    model = tiny.write(tmp_path)
    truth = torch.cat(tiny.soft_tokens(model))
    theirs = torch.cat(tiny.soft_tokens(type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)))
    ours = torch.cat(load(tmp_path, "bfloat16", body=body).encode(tiny.tiled()))
    assert ours.dtype == torch.bfloat16
    assert error(ours, truth) < 0.02
    assert error(ours, truth) < 1.1 * error(theirs, truth)


@EACH
def test_float16_runs_too(tmp_path: Path, tiny: Tiny) -> None:
    model = tiny.write(tmp_path)
    assert worst(load(tmp_path, "float16").encode(tiny.tiled()), tiny.soft_tokens(model)) < 0.01


@EACH
def test_each_image_has_the_rows_that_it_has_alone(tmp_path: Path, tiny: Tiny) -> None:
    tiny.write(tmp_path)
    tower, images = load(tmp_path), tiny.tiled()
    alone = [tower.encode([image])[0] for image in images]
    assert worst(tower.encode(images), alone) < 1e-5
    assert worst(tower.encode(images[::-1]), alone[::-1]) < 1e-5


@EACH
def test_calls_leave_no_tensors_behind(tmp_path: Path, tiny: Tiny) -> None:
    tiny.write(tmp_path)
    tower, images = load(tmp_path), tiny.tiled()

    def living() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    tower.encode(images)
    before = living()
    for number in range(3):
        tower.encode(images[number:])
    assert living() == before


@EACH
def test_the_other_side_of_the_contract(tmp_path: Path, tiny: Tiny) -> None:
    model = tiny.write(tmp_path)
    tower = load(tmp_path)
    (width,) = {rows.shape[1] for rows in tiny.soft_tokens(model)}
    assert (tower.width, tower.constants.shape) == (width, (0, width))
    assert tower.choice == TowerChoice(torch.device("cpu"), torch.float32, "cpu", "fused")
    assert not isinstance(tower, TileTower)
    assert len({tower.bucket(image.views) for image in tiny.tiled()}) == 1
    for patches, cells in ((1, 1), (4, 1), (47, 9), (256, 64), (8192, 2025)):
        blank = tower.blank(patches)
        assert blank.tile_count == blank.rows <= max(1, patches // 4)
        assert blank.tile_count >= 0.9 * cells
    assert len(tower.encode([tower.blank(50)])[0]) == tower.blank(50).rows


@EACH
def test_tiles_of_another_form_are_refused(tmp_path: Path, tiny: Tiny) -> None:
    tiny.write(tmp_path)
    tower, image = load(tmp_path), tiny.tiled()[0]
    (cells,) = image.tiles
    for tiles in ([cells[1:]], [cells, cells], [cells[:, :14]]):
        with pytest.raises(ValueError, match=f"one view of 4 cells of {tiny.cell}×{tiny.cell} pixels"):
            tower.encode([TiledImage(image.views, tiles, image.rows)])


@EACH
def test_reads_shards_and_names_of_either_generation(tmp_path: Path, tiny: Tiny) -> None:
    model = tiny.write(tmp_path, max_shard_size="30KB")
    index = tmp_path / "model.safetensors.index.json"
    file_of = json.loads(index.read_text())["weight_map"]
    assert len(set(file_of.values())) > 2
    for file in set(file_of.values()):
        tensors = load_file(tmp_path / file)
        save_file({_other(name): tensor for name, tensor in tensors.items()}, tmp_path / file)
    index.write_text(json.dumps({"weight_map": {_other(name): file for name, file in file_of.items()}}))
    assert worst(load(tmp_path).encode(tiny.tiled()), tiny.soft_tokens(model)) < 1e-5


def _other(name: str) -> str:
    """The name in the other generation than the one that transformers writes."""
    return name.removeprefix("model.") if name.startswith("model.visual.") else f"model.{name}"


@EACH
def test_what_is_chosen_is_known_without_the_weights(tmp_path: Path, tiny: Tiny) -> None:
    tiny.write(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    choice = choose_tower(tmp_path, device="cpu", dtype="float32")
    assert (choice.backend, choice.body) == ("cpu", "fused")
    choice = choose_tower(tmp_path, device="cpu", dtype="float16", body="transformers")
    assert (choice.backend, choice.body) == ("cpu", "transformers")
    with pytest.raises(ConfigurationError, match="encoder_body: body 'compiled' is for towers that compute"):
        choose_tower(tmp_path, device="cpu", dtype="float32", body="compiled")


@EACH
def test_one_call_a_layer_is_for_our_blocks_on_a_gpu(tmp_path: Path, tiny: Tiny) -> None:
    tiny.write(tmp_path)

    def choose(device: str = "cuda", dtype: str = "bfloat16", **options: Any) -> TowerChoice:
        given = {"backend": "reference", "attention": "varlen", "independent_tiles": False, **options}
        return choose_tower(tmp_path, device=device, dtype=dtype, **given)

    assert choose().one_call
    assert choose(body="triton").one_call
    assert not choose(attention="flash").one_call
    for changed, reason in (
        ({"body": "transformers"}, "it is for Patchbay's own blocks, and these are transformers"),
        ({"device": "cpu"}, "it runs on CUDA devices and the tower is on cpu"),
        ({"dtype": "float32"}, "it takes bfloat16 and float16, not float32"),
        ({"independent_tiles": True}, "it is for models that take images at their own size"),
    ):
        with pytest.raises(ConfigurationError, match=f"encoder_attention: varlen cannot run: {reason}"):
            choose(**changed)


@EACH
@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("blocks.1.norm2.weight", None, "has no tensor blocks.1.norm2.weight"),
        ("merger.{norm}.weight", torch.ones(31), r"\[31\]; its config.json asks for \[32\]"),
        ("patch_embed.proj.weight", torch.ones(32, 3, 14, 14), "asks for .*32, 3, 2"),
        ("blocks.3.norm1.weight", torch.ones(32), "does not account for: blocks.3.norm1"),
    ],
)
@pytest.mark.parametrize("body", ["fused", "transformers"])
def test_refuses_tensors_that_are_not_as_config_says(
    tmp_path: Path, tiny: Tiny, name: str, tensor: torch.Tensor | None, message: str, body: str
) -> None:
    tiny.write(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    prefix = next(found for found in stored if "visual." in found).partition("visual.")[0]
    own = f"{prefix}visual.{name.format(norm=tiny.norm)}"
    edit_tensors(tmp_path, **{own.replace(".", "__"): tensor})
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path, body=body)
