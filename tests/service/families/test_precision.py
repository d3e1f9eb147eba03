"""Every family's tower with linear layers in int8: near full precision, and not equal to it."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels.eight_bit.choice import obstacle_to_int8
from service.app.precision import soft_token_error
from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.loading import choose_tower, load_tower
from service.settings import EMBEDDED_MODEL

OBSTACLE = obstacle_to_int8(torch.device("cpu"), torch.float32)
can_run = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
FAMILIES = (
    "blip2",
    "cohere2_vision",
    "gemma3",
    "gemma4",
    "glm4v",
    "idefics2",
    "idefics3",
    "lighton_ocr",
    "llava",
    "llava_onevision",
    "paddleocr_vl",
    "paligemma",
    "pixtral",
    "qwen2_vl",
    "qwen3_5",
    "qwen3_vl",
    "qwen_vl",
)


def write(folder: Path, family: str) -> None:
    options: dict[str, Any] = {"anyres": True} if family == "llava" else {}
    if family.startswith("qwen"):
        options["tokenizer"] = True
    import_module(f"tests.service.tiny_{family}").write_checkpoint(folder, **options)


def error_of(folder: Path, body: str) -> float:
    choice = choose_tower(folder, device="cpu", dtype="float32", body=body, precision="int8")
    return soft_token_error(folder, choice, load_geometry(folder), torch.get_num_threads())


@can_run
@pytest.mark.parametrize("body", ["auto", "transformers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_soft_tokens_are_near_those_in_full_precision(tmp_path: Path, family: str, body: str) -> None:
    write(tmp_path, family)
    assert 1e-4 < error_of(tmp_path, body) < 0.05


@can_run
@pytest.mark.parametrize("body", ["auto", "transformers"])
def test_those_of_the_embedded_model_are_nearer(body: str) -> None:
    assert 1e-3 < error_of(EMBEDDED_MODEL, body) < 0.03


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": "int4"}, "encoder_precision: got 'int4', allowed are 'auto', 'full', 'int8', 'fp8'"),
        ({"dtype": "float16", "precision": "int8"}, "encoder_precision: int8 cannot run: .*not float16"),
        ({"device": "cuda", "precision": "int8"}, "encoder_precision: int8 cannot run: .*is on cuda"),
        ({"precision": "fp8"}, "encoder_precision: fp8 cannot run: .*is on cpu"),
    ],
)
def test_what_cannot_run_is_refused(tmp_path: Path, given: dict[str, str], message: str) -> None:
    write(tmp_path, "llava")
    with pytest.raises(ConfigurationError, match=message):
        choose_tower(tmp_path, **{"device": "cpu", "dtype": "float32", "backend": "reference", **given})


@can_run
def test_compiled_blocks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "llava")
    monkeypatch.setattr("shutil.which", lambda name: name)
    with pytest.raises(ConfigurationError, match="encoder_precision: int8 is not for compiled blocks"):
        choose_tower(tmp_path, device="cpu", dtype="float32", body="compiled", precision="int8")


@pytest.mark.parametrize("family", ["blip2", "gemma3", "llava", "llava_onevision", "qwen2_vl"])
def test_fp8_where_it_could_run_is_near_too(tmp_path: Path, family: str) -> None:
    """On a CPU, where PyTorch multiplies fp8 slowly and `choose_tower` refuses it."""
    write(tmp_path, family)
    full = choose_tower(tmp_path, device="cpu", dtype="float32", body="transformers")
    choice = replace(full, precision="fp8")
    assert 1e-3 < soft_token_error(tmp_path, choice, load_geometry(tmp_path), torch.get_num_threads()) < 0.1


def test_layers_that_the_precision_does_not_take_are_refused(tmp_path: Path) -> None:
    """The tiny tower's MLP is 44 wide."""
    write(tmp_path, "pixtral")
    choice = choose_tower(tmp_path, device="cpu", dtype="float32", body="transformers")
    with pytest.raises(
        ConfigurationError,
        match="encoder_precision: fp8 is not for this tower, .*multiples of 16; choose full",
    ):
        load_tower(tmp_path, replace(choice, precision="fp8"))
