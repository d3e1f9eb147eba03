"""`patchbay check` and `patchbay plan` of a checkpoint of each family of packed towers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from service.cli.check import check
from service.cli.main import main
from tests.service import tiny_glm4v, tiny_paddleocr_vl, tiny_pixtral, tiny_qwen3_5, tiny_qwen3_vl

FAMILIES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "mistral3": (
        tiny_pixtral.write_checkpoint,
        "pixtral (Mistral3ForConditionalGeneration)",
        "up to 64 soft tokens",
    ),
    "pixtral": (
        partial(tiny_pixtral.write_checkpoint, merges=False),
        "pixtral (LlavaForConditionalGeneration)",
        "up to 196 soft tokens",
    ),
    "glm4v": (
        tiny_glm4v.write_checkpoint,
        "glm4v (Glm4vForConditionalGeneration)",
        "up to 113 soft tokens",
    ),
    "glm4v_moe": (
        partial(tiny_glm4v.write_checkpoint, experts=True),
        "glm4v (Glm4vMoeForConditionalGeneration)",
        "up to 113 soft tokens",
    ),
    "paddleocr_vl": (
        tiny_paddleocr_vl.write_checkpoint,
        "paddleocr_vl (PaddleOCRVLForConditionalGeneration)",
        "up to 113 soft tokens",
    ),
    "qwen3_5": (
        partial(tiny_qwen3_5.write_checkpoint, tokenizer=True, dtype=torch.bfloat16),
        "qwen3_5 (Qwen3_5ForConditionalGeneration)",
        "up to 113 soft tokens",
    ),
    "qwen3_5_moe": (
        partial(tiny_qwen3_5.write_checkpoint, experts=True, tokenizer=True, dtype=torch.bfloat16),
        "qwen3_5 (Qwen3_5MoeForConditionalGeneration)",
        "up to 113 soft tokens",
    ),
    "qwen3_vl": (
        partial(tiny_qwen3_vl.write_checkpoint, tokenizer=True),
        "qwen3_vl (Qwen3VLForConditionalGeneration)",
        "up to 113 soft tokens",
    ),
    "qwen3_vl_moe": (
        partial(tiny_qwen3_vl.write_checkpoint, experts=True, tokenizer=True),
        "qwen3_vl (Qwen3VLMoeForConditionalGeneration)",
        "the engine loads this tower as well",
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_check_and_plan_know_it(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write, family, images = FAMILIES[name]
    write(tmp_path)
    assert check({"model": str(tmp_path)}) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert family in told and images in told
    assert "Patchbay encodes the family" in told
    (tmp_path / "model.safetensors").unlink()
    machine = ["--gpu", "l4", "--cores", "8", "--memory", "32", "--shared-memory", "4"]
    assert main(["plan", str(tmp_path), "--image", "640x480:1:low", "--image", "200x100", *machine]) == 0
    assert "requests" in capsys.readouterr().out
