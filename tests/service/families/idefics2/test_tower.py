"""The tower against transformers' `get_image_features`: views of any sizes together, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Idefics2VisionConfig
from transformers.models.idefics2.modeling_idefics2 import Idefics2VisionEmbeddings

from kernels.backend import product_dtype
from service.domain import Detail, View
from service.errors import ConfigurationError
from service.families import load_checkpoint
from service.families.idefics2.tower import position_ids
from service.families.towers import TiledImage, TileTower
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.rows import encoded, error, tiled, worst
from tests.service.tiny import pictures
from tests.service.tiny_idefics2 import PERCEIVER, TEXT, soft_tokens, write_checkpoint

SIZES = ((56, 56), (97, 61), (640, 480), (33, 300), (2, 2), (900, 3), (2, 700), (75, 75))
NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16


@pytest.mark.parametrize("body", ["fused", "transformers"])
@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="default"),
        pytest.param(
            {"perceiver_config": {**PERCEIVER, "resampler_n_latents": 7, "resampler_depth": 1}},
            id="other latents",
        ),
        pytest.param({"vision": {"image_size": 98}}, id="a larger table"),
        pytest.param({"text_config": {**TEXT, "hidden_act": "gelu"}}, id="another activation"),
    ],
)
def test_equals_transformers(tmp_path: Path, config: dict[str, Any], body: str) -> None:
    model = write_checkpoint(tmp_path, **config)
    images = pictures(SIZES)
    rows = encoded(tmp_path, tower_of(tmp_path, dtype="float32", body=body), images)
    assert all(one.is_contiguous() for one in rows)
    assert worst(rows, soft_tokens(tmp_path, model, images)) < 1e-4


def test_low_is_the_whole_alone(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    images = pictures(SIZES)
    rows = tower_of(tmp_path, dtype="float32").encode(tiled(tmp_path, images, Detail.LOW))
    assert worst(rows, soft_tokens(tmp_path, model, images, do_image_splitting=False)) < 1e-4


@pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")
def test_bfloat16_is_as_near_to_the_truth_as_transformers_own(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    images = pictures(SIZES)
    truth = torch.cat(soft_tokens(tmp_path, model, images))
    rounded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    theirs = torch.cat(soft_tokens(tmp_path, rounded, images))
    ours = torch.cat(encoded(tmp_path, tower_of(tmp_path, dtype="bfloat16"), images))
    assert ours.dtype == torch.bfloat16
    assert error(ours, truth) < max(0.01, error(theirs, truth))


@pytest.mark.parametrize(("side", "most"), [(70, 71), (4, 9), (27, 40)])
def test_places_are_transformers(side: int, most: int) -> None:
    """Of a table that holds the number of each of its places."""
    config = Idefics2VisionConfig(hidden_size=1, image_size=side, patch_size=1, num_attention_heads=1)
    embeddings = Idefics2VisionEmbeddings(config)
    torch.nn.init.zeros_(embeddings.patch_embedding.weight)
    torch.nn.init.zeros_(embeddings.patch_embedding.bias)
    embeddings.position_embedding.weight.data = torch.arange(side**2, dtype=torch.float32)[:, None]
    for rows in range(1, most):
        columns = most - rows
        theirs = embeddings(torch.zeros(1, 3, rows, columns), torch.ones(1, rows, columns, dtype=torch.bool))
        assert torch.equal(position_ids(rows, columns, side), theirs.flatten().long())


def test_each_image_has_the_rows_that_it_has_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower, images = tower_of(tmp_path, dtype="float32"), tiled(tmp_path, pictures(SIZES))
    alone = [tower.encode([image])[0] for image in images]
    assert worst(tower.encode(images), alone) < 1e-5
    assert worst(tower.encode(images[::-1]), alone[::-1]) < 1e-5


def test_the_other_side_of_the_contract(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    tower = tower_of(tmp_path, dtype="float32")
    assert (tower.width, len(tower.constants), tower.choice.body) == (64, 0, "fused")
    assert not isinstance(tower, TileTower)
    for patches in (1, 4, 95):
        blank = tower.blank(patches)
        (view,) = blank.views
        assert 0 < view.width // 14 * (view.height // 14) <= patches
        assert tower.encode([blank])[0].shape == (blank.rows, 64)
    parts = model.model.vision_model, model.model.connector
    own = sum(parameter.numel() for part in parts for parameter in part.parameters())
    assert load_checkpoint(str(tmp_path)).vision_bytes == 4 * own


def test_tiles_that_are_no_view_are_errors(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = tower_of(tmp_path, dtype="float32")
    for shape in ((2, 28, 28, 3), (1, 28, 30, 3)):
        image = TiledImage([View(28, 28, 28, 28)], [torch.zeros(shape, dtype=torch.uint8)], 5)
        with pytest.raises(ValueError, match="this tower takes views of one tile, in whole patches of 14"):
            tower.encode([image])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__vision_model__extra": torch.ones(3)}, "does not account for: vision_model.extra"),
        (
            {"model__connector__perceiver_resampler__latents": torch.ones(4, 64)},
            r"latents .* is \[4, 64\]",
        ),
        (
            {"model__vision_model__post_layernorm__bias": None},
            "no tensor vision_model.post_layernorm.bias",
        ),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")
