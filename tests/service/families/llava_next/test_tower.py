"""LLaVA-NeXT's tower and token maps against transformers' `get_image_features`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from service.domain import Detail
from service.encoder.local import mapped
from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.towers import Tower
from tests.service.families.checkpoints import edit_tensors, tower_of
from tests.service.families.llava.test_tower import SIGLIP
from tests.service.families.rows import encoded, worst
from tests.service.tiny import pictures
from tests.service.tiny_llava import soft_tokens, write_checkpoint

SIZES = (
    (56, 56),
    (97, 61),
    (640, 480),
    (33, 300),
    (300, 33),
    (900, 5),
    (5, 900),
    (1, 1),
    (112, 112),
    (168, 56),
)


def tokens(folder: Path, tower: Tower, images: Sequence[Image.Image]) -> list[torch.Tensor]:
    geometry = load_geometry(folder)
    maps = [geometry.plan(*image.size, Detail.HIGH).token_map for image in images]
    rows = encoded(folder, tower, images)
    return [
        mapped(one, plan, tower.constants) for one, plan in zip(rows, maps, strict=True) if plan is not None
    ]


@pytest.mark.parametrize(
    ("body", "config"),
    [
        ("fused", {}),
        ("transformers", {}),
        ("fused", {"vision_feature_layer": [-2, -1]}),
        ("fused", {"vision": SIGLIP, "vision_feature_select_strategy": "full"}),
        ("fused", {"image_grid_pinpoints": [[56, 56], [112, 168]]}),
    ],
    ids=["fused", "transformers", "several layers", "siglip", "other canvases"],
)
def test_equals_transformers(tmp_path: Path, body: str, config: dict[str, object]) -> None:
    model = write_checkpoint(tmp_path, anyres=True, **config)
    tower = tower_of(tmp_path, dtype="float32", body=body)
    images = pictures(SIZES)
    assert worst(tokens(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-4


def test_in_bfloat16_it_is_no_farther_off_than_one_in_a_hundred(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, anyres=True)
    images = pictures(SIZES)
    tower = tower_of(tmp_path, dtype="bfloat16")
    assert tower.constants.dtype == torch.bfloat16
    assert worst(tokens(tmp_path, tower, images), soft_tokens(tmp_path, model, images)) < 1e-2


def test_an_overview_alone_is_what_transformers_makes_of_one_tile(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, anyres=True)
    tower, geometry = tower_of(tmp_path, dtype="float32"), load_geometry(tmp_path)
    (image,) = pictures([(97, 61)])
    (rows,) = encoded(tmp_path, tower, [image])
    plan = geometry.plan(*image.size, Detail.LOW)
    assert plan.token_map is not None
    overview = rows[: plan.tower_rows]
    packed, _ = model.model.pack_image_features(
        [overview[None]], [(61, 97)], "default", model.model.image_newline
    )
    assert torch.equal(mapped(overview, plan.token_map, tower.constants), packed[0])


@pytest.mark.parametrize(
    ("newline", "message"),
    [
        (None, "has no tensor image_newline"),
        (torch.ones(63), r"image_newline .* is \[63\]"),
        (torch.full((64,), float("nan")), "image_newline .* not finite"),
    ],
)
def test_a_newline_that_cannot_be_used_is_refused(
    tmp_path: Path, newline: torch.Tensor | None, message: str
) -> None:
    write_checkpoint(tmp_path, anyres=True)
    edit_tensors(tmp_path, image_newline=newline)
    with pytest.raises(ConfigurationError, match=message):
        tower_of(tmp_path, dtype="float32")
