"""Checkpoints of architectures that Patchbay has no family for, random and made in a moment; vLLM serves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from tests.service import tiny_qwen_vl as qwen

TEXT = {name: value for name, value in qwen.TEXT.items() if name != "rope_parameters"}
VISION = {
    "depth": 2,
    "embed_dim": 32,
    "hidden_size": 64,
    "num_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}


def write_text_model(folder: Path) -> None:
    """A Llama, which takes no images."""
    folder.mkdir(exist_ok=True)
    _save(LlamaForCausalLM(LlamaConfig(**TEXT)), folder)
    qwen.write_tokenizer(folder)


def write_qwen2_vl(folder: Path) -> None:
    """A Qwen2-VL: a tower of its own, positions in three dimensions."""
    folder.mkdir(exist_ok=True)
    config = Qwen2VLConfig(
        vision_config=dict(VISION),
        text_config=json.loads(json.dumps(qwen.TEXT)),
        image_token_id=qwen.TOKENS["<|image_pad|>"],
        video_token_id=qwen.TOKENS["<|video_pad|>"],
        vision_start_token_id=qwen.TOKENS["<|vision_start|>"],
        vision_end_token_id=qwen.TOKENS["<|vision_end|>"],
    )
    _save(Qwen2VLForConditionalGeneration(config), folder)
    qwen.write_processor(folder, processor_class="Qwen2VLProcessor")
    qwen.write_tokenizer(folder, processor_class="Qwen2VLProcessor")


def _save(model: PreTrainedModel, folder: Path) -> None:
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1.0 if "norm" in name else 0.0))
    model.save_pretrained(folder)


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
