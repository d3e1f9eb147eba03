"""Towers whose blocks have Triton kernels between the products, against transformers': in Triton's interpreter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.kernels.interpreter import interpreted
from tests.service import tiny_cohere2_vision, tiny_glm4v, tiny_internvl, tiny_paddleocr_vl, tiny_pixtral
from tests.service.families.checkpoints import tower_of
from tests.service.families.native.towers import TINY, Tiny
from tests.service.families.rows import encoded, worst
from tests.service.tiny import pictures

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
inside = pytest.mark.skipif(not INTERPRETED, reason="in Triton's interpreter only")


@pytest.mark.skipif(INTERPRETED, reason="starts the interpreter")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU's tests have more")
def test_the_towers_in_the_interpreter() -> None:
    assert interpreted(Path(__file__)) == len(TINY) + 5


@inside
@pytest.mark.parametrize("tiny", TINY.values(), ids=TINY.keys())
def test_qwens_lines(tmp_path: Path, tiny: Tiny) -> None:
    model = tiny.write(tmp_path)
    rows = tower_of(tmp_path, device="cpu", dtype="float32", backend="cpu", body="triton").encode(
        tiny.tiled()
    )
    assert worst(rows, tiny.soft_tokens(model)) < 1e-5


@inside
def test_glm(tmp_path: Path) -> None:
    model, images = tiny_glm4v.write_checkpoint(tmp_path), pictures(((56, 84), (28, 28)))
    tower = tower_of(tmp_path, device="cpu", dtype="float32", backend="cpu", body="triton")
    assert worst(encoded(tmp_path, tower, images), tiny_glm4v.soft_tokens(tmp_path, model, images)) < 1e-4


@inside
def test_paddleocr(tmp_path: Path) -> None:
    model, images = tiny_paddleocr_vl.write_checkpoint(tmp_path), pictures(((56, 84), (28, 28)))
    tower = tower_of(tmp_path, device="cpu", dtype="float32", backend="cpu", body="triton")
    truth = tiny_paddleocr_vl.soft_tokens(tmp_path, model, images)
    assert worst(encoded(tmp_path, tower, images), truth) < 1e-5


@inside
def test_pixtral(tmp_path: Path) -> None:
    model, images = tiny_pixtral.write_checkpoint(tmp_path, merges=True), pictures(((64, 96), (32, 32)))
    tower = tower_of(tmp_path, device="cpu", dtype="float32", backend="cpu", body="triton")
    assert worst(encoded(tmp_path, tower, images), tiny_pixtral.soft_tokens(tmp_path, model, images)) < 1e-4


@inside
def test_tiles_with_layer_scale(tmp_path: Path) -> None:
    model, tiles = tiny_internvl.write_checkpoint(tmp_path), tiny_internvl.random_tiles(2)
    tower = tower_of(tmp_path, device="cpu", dtype="float32", backend="cpu", body="triton")
    assert tower.choice.body == "triton"
    rows = tower.encode([tiny_internvl.tiled(tiles)])
    assert worst(rows, [tiny_internvl.soft_tokens(model, tiles)]) < 1e-5


@inside
def test_a_gated_projector(tmp_path: Path) -> None:
    """In the kernels of a GPU as well: two products, and the gate between them."""
    model, images = tiny_cohere2_vision.write_checkpoint(tmp_path), pictures(((70, 40),))
    tower = tower_of(tmp_path, device="cpu", dtype="float32", backend="triton", body="triton")
    truth = tiny_cohere2_vision.soft_tokens(tmp_path, model, images)
    assert worst(encoded(tmp_path, tower, images), truth) < 1e-4
