"""A small checkpoint of every family in the registry, with a tokenizer, so that an engine serves it from its folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from service.settings import EMBEDDED_MODEL
from tests.service import (
    tiny_blip2,
    tiny_cohere2_vision,
    tiny_gemma3,
    tiny_gemma4,
    tiny_glm4v,
    tiny_idefics2,
    tiny_idefics3,
    tiny_lighton_ocr,
    tiny_llava,
    tiny_llava_onevision,
    tiny_paddleocr_vl,
    tiny_paligemma,
    tiny_pixtral,
    tiny_qwen2_vl,
    tiny_qwen3_5,
    tiny_qwen3_vl,
    tiny_qwen_vl,
)

Write = Callable[[Path], object]
"""Fills a folder that is there."""

MOST = 600
"""Soft tokens of an image where a checkpoint limits its pixels: enough for `low` to look at less."""


def _native(tiny: Any, **further: Any) -> Write:
    return partial(tiny.write_checkpoint, max_pixels=MOST * tiny.CELL**2, **further)


CHECKPOINTS: dict[str, Write] = {
    "blip-2": tiny_blip2.write_checkpoint,
    "cohere2_vision": tiny_cohere2_vision.write_checkpoint,
    "gemma3": tiny_gemma3.write_checkpoint,
    "gemma4": tiny_gemma4.write_checkpoint,
    "glm4v": _native(tiny_glm4v),
    "glm4v_moe": _native(tiny_glm4v, experts=True),
    "idefics2": tiny_idefics2.write_checkpoint,
    "idefics3": tiny_idefics3.write_checkpoint,
    "internvl": partial(shutil.copytree, EMBEDDED_MODEL, dirs_exist_ok=True),
    "lighton_ocr": tiny_lighton_ocr.write_checkpoint,
    "llava": partial(tiny_llava.write_checkpoint, anyres=False),
    "llava+pixtral": partial(tiny_pixtral.write_checkpoint, merges=False, edge=320),
    "llava_next": partial(tiny_llava.write_checkpoint, anyres=True),
    "llava_onevision": tiny_llava_onevision.write_checkpoint,
    "mistral3": partial(tiny_pixtral.write_checkpoint, edge=616),
    "mistral3+qwen3": partial(tiny_lighton_ocr.write_checkpoint, released=True),
    "paddleocr_vl": _native(tiny_paddleocr_vl),
    "paligemma": tiny_paligemma.write_checkpoint,
    "qwen2_5_vl": _native(tiny_qwen_vl, tokenizer=True),
    "qwen2_vl": _native(tiny_qwen2_vl, tokenizer=True),
    "qwen3_5": _native(tiny_qwen3_5, tokenizer=True, dtype=torch.bfloat16),
    "qwen3_5_moe": _native(tiny_qwen3_5, tokenizer=True, dtype=torch.bfloat16, experts=True),
    "qwen3_vl": _native(tiny_qwen3_vl, tokenizer=True),
    "qwen3_vl_moe": _native(tiny_qwen3_vl, tokenizer=True, experts=True),
    "smolvlm": partial(tiny_idefics3.write_checkpoint, kind="smolvlm"),
}
"""By the family's name in the registry."""
