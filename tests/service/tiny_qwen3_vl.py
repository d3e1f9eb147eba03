"""A checkpoint in Qwen3-VL's layout that is made in a moment: every parameter random, so that none can be left out.

DeepStack has two levels, of the first two of three layers. Tokenizer and pictures are those of `tiny_qwen_vl`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from tests.service import tiny_qwen_vl as qwen
from tests.service.tiny_qwen_vl import TOKENS

__all__ = ["CELL", "MAX_PIXELS", "PATCH", "TOKENS", "write_checkpoint", "write_files"]

PATCH = 16
CELL = 2 * PATCH
MIN_PIXELS, MAX_PIXELS = 4 * CELL**2, 64 * CELL**2
PROCESSOR = "Qwen3VLProcessor"
VISION = {
    "depth": 3,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 44,
    "out_hidden_size": 64,
    "patch_size": PATCH,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_position_embeddings": 36,
    "deepstack_visual_indexes": [0, 1],
}
TEXT = qwen.TEXT | {
    "head_dim": 32,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [6, 5, 5],
        "mrope_interleaved": True,
    },
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "decoder_sparse_step": 1,
    "norm_topk_prob": True,  # transformers always does, and vLLM asks
    "mlp_only_layers": [],
}


def write_checkpoint(
    folder: Path,
    *,
    vision: dict[str, Any] | None = None,
    experts: bool = False,
    tokenizer: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_shard_size: str = "1GB",
    **config: Any,
) -> Any:
    """Saves a checkpoint whose images have 4 to 64 soft tokens, or as many as `max_pixels` hold; returns its model."""
    torch.manual_seed(7)
    text = json.loads(json.dumps(TEXT | (EXPERTS if experts else {})))
    given = {**qwen.TOKEN_IDS, "text_config": text, "vision_config": {**VISION, **(vision or {})}, **config}
    model: Any = (
        Qwen3VLMoeForConditionalGeneration(Qwen3VLMoeConfig(**given))
        if experts
        else Qwen3VLForConditionalGeneration(Qwen3VLConfig(**given))
    )
    qwen.randomise(model.eval())
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    for file in folder.glob("*.safetensors"):
        _turn_experts(file)
    write_files(folder, max_pixels=max_pixels, tokenizer=tokenizer)
    return model


def _turn_experts(file: Path) -> None:
    """The hub has their weights as [experts, in, out]; transformers turns them when it reads them, and not back."""
    stored = load_file(file)
    turned = {name: w.mT.contiguous() if ".mlp.experts." in name else w for name, w in stored.items()}
    save_file(turned, file, metadata={"format": "pt"})


def write_files(folder: Path, *, max_pixels: int, tokenizer: bool) -> None:
    """The processors, and the tokenizer if it is asked for."""
    qwen.write_processor(
        folder, patch=PATCH, min_pixels=MIN_PIXELS, max_pixels=max_pixels, processor_class=PROCESSOR
    )
    video = {"video_processor_type": "Qwen3VLVideoProcessor", "patch_size": PATCH, "merge_size": 2}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video))
    if tokenizer:
        qwen.write_tokenizer(folder, processor_class=PROCESSOR)
