"""A checkpoint in Qwen2-VL's layout that is made in a moment: every parameter random, so that none can be left out.

Processor, tokenizer and pictures are those of `tiny_qwen_vl`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from tests.service.tiny_qwen_vl import (
    CELL,
    MAX_PIXELS,
    MIN_PIXELS,
    SIZES,
    TEXT,
    TOKEN_IDS,
    pictures,
    randomise,
    soft_tokens,
    write_processor,
    write_tokenizer,
)

__all__ = ["CELL", "MAX_PIXELS", "MIN_PIXELS", "SIZES", "pictures", "soft_tokens", "write_checkpoint"]

PROCESSOR = "Qwen2VLProcessor"
VISION = {
    "depth": 3,
    "embed_dim": 32,
    "num_heads": 2,
    "mlp_ratio": 2,
    "hidden_size": 64,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}


def write_checkpoint(
    folder: Path,
    *,
    vision: dict[str, Any] | None = None,
    tokenizer: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_shard_size: str = "1GB",
    **config: Any,
) -> Qwen2VLForConditionalGeneration:
    """Saves a checkpoint whose images have 4 to 64 soft tokens, or as many as `max_pixels` hold; returns its model."""
    torch.manual_seed(7)
    given = {**TOKEN_IDS, "text_config": json.loads(json.dumps(TEXT)), **config}
    model = Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(vision_config={**VISION, **(vision or {})}, **given)
    ).eval()
    randomise(model)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    write_processor(folder, max_pixels=max_pixels, processor_class=PROCESSOR)
    if tokenizer:
        write_tokenizer(folder, processor_class=PROCESSOR)
    return model
