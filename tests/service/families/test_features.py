"""Soft tokens of two dozen pictures of any sizes in every family, pixels to rows, against transformers' own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, LightOnOcrForConditionalGeneration

from service.domain import Detail
from service.encoder.local import mapped
from service.families import load_geometry
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
    tiny_qwen3_vl,
    tiny_qwen_vl,
)
from tests.service.checkpoints import CHECKPOINTS, MOST
from tests.service.families.checkpoints import tower_of
from tests.service.families.figures import Tell
from tests.service.families.rows import encoded, error, worst
from tests.service.families.test_counts import draw_sizes
from tests.service.tiny import pictures

pytestmark = pytest.mark.families

PICTURES, LONGEST = 24, 900
FLOAT32, BFLOAT16 = 1e-4, 1e-2
"""How far off a picture's soft tokens may be."""
CHANCE = 1.1
"""Times transformers' own error, where that is the larger: either is ahead on half of the pictures, by some percent."""
Transformers = Callable[[Path, Any, Sequence[Image.Image]], list[torch.Tensor]]
"""A checkpoint's folder, its model and pictures → what transformers makes of each: [tokens, width]"""


def of_cells(patch: int) -> Transformers:
    """Of the Qwen-VL line."""
    return lambda folder, model, images: tiny_qwen_vl.soft_tokens(
        model, images, patch, MOST * (2 * patch) ** 2
    )


@torch.inference_mode()
def of_the_embedded_model(folder: Path, model: Any, images: Sequence[Image.Image]) -> list[torch.Tensor]:
    processor = AutoImageProcessor.from_pretrained(folder)
    seen = [processor(images=[image], return_tensors="pt")["pixel_values"] for image in images]
    return [
        model.model.get_image_features(pixel_values=values.to(model.dtype)).pooler_output.flatten(0, 1)
        for values in seen
    ]


TRANSFORMERS: dict[str, Transformers] = {
    "blip-2": tiny_blip2.soft_tokens,
    "cohere2_vision": tiny_cohere2_vision.soft_tokens,
    "gemma3": tiny_gemma3.soft_tokens,
    "gemma4": tiny_gemma4.soft_tokens,
    "glm4v": tiny_glm4v.soft_tokens,
    "glm4v_moe": tiny_glm4v.soft_tokens,
    "idefics2": tiny_idefics2.soft_tokens,
    "idefics3": tiny_idefics3.soft_tokens,
    "internvl": of_the_embedded_model,
    "lighton_ocr": tiny_lighton_ocr.soft_tokens,
    "llava": tiny_llava.soft_tokens,
    "llava+pixtral": tiny_pixtral.soft_tokens,
    "llava_next": tiny_llava.soft_tokens,
    "llava_onevision": tiny_llava_onevision.soft_tokens,
    "mistral3": tiny_pixtral.soft_tokens,
    "mistral3+qwen3": tiny_lighton_ocr.soft_tokens,
    "paddleocr_vl": tiny_paddleocr_vl.soft_tokens,
    "paligemma": tiny_paligemma.soft_tokens,
    "qwen2_5_vl": of_cells(14),
    "qwen2_vl": of_cells(14),
    "qwen3_5": of_cells(tiny_qwen3_vl.PATCH),
    "qwen3_5_moe": of_cells(tiny_qwen3_vl.PATCH),
    "qwen3_vl": of_cells(tiny_qwen3_vl.PATCH),
    "qwen3_vl_moe": of_cells(tiny_qwen3_vl.PATCH),
    "smolvlm": tiny_idefics3.soft_tokens,
}


CLASSES = {"mistral3+qwen3": LightOnOcrForConditionalGeneration}
"""Transformers' of a family whose model_type is another's."""


def ours(folder: Path, images: Sequence[Image.Image], dtype: str) -> list[torch.Tensor]:
    tower, geometry = tower_of(folder, dtype=dtype), load_geometry(folder)
    maps = [geometry.plan(*image.size, Detail.HIGH).token_map for image in images]
    return [
        rows if token_map is None else mapped(rows, token_map, tower.constants)
        for rows, token_map in zip(encoded(folder, tower, images), maps, strict=True)
    ]


def test_there_is_one_of_every_family() -> None:
    assert TRANSFORMERS.keys() == CHECKPOINTS.keys()


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_soft_tokens_are_transformers(family: str, tmp_path: Path, tell: Tell) -> None:
    CHECKPOINTS[family](tmp_path)
    least = load_geometry(tmp_path).facts.min_side
    images = pictures([size for size in draw_sizes(PICTURES, LONGEST) if min(size) >= least])
    read = partial(CLASSES.get(family, AutoModelForImageTextToText).from_pretrained, tmp_path)
    theirs = partial(TRANSFORMERS[family], tmp_path)
    truth = theirs(read(dtype=torch.float32).eval(), images)
    off = worst(ours(tmp_path, images, "float32"), truth)
    tell(family, "float32", f"{off:.1e}")
    assert off < FLOAT32
    rounded = theirs(read(dtype=torch.bfloat16).eval(), images)
    mine, their = (
        error(torch.cat(rows), torch.cat(truth)) for rows in (ours(tmp_path, images, "bfloat16"), rounded)
    )
    tell(family, "bfloat16", f"{mine:.1e}; transformers' own {their:.1e}")
    assert mine < max(BFLOAT16, CHANCE * their)
