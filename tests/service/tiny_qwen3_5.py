"""A checkpoint in Qwen3.5's layout that is made in a moment: every parameter random, so that none can be left out.

The language model has a layer of gated-delta attention and one of attention; vLLM's CPU build computes the former in
bfloat16 and with heads of 128. Tower, tokenizer and pictures are those of `tiny_qwen3_vl`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
)

from tests.service import tiny_qwen3_vl as qwen3
from tests.service import tiny_qwen_vl as qwen
from tests.service.tiny_qwen3_vl import CELL, TOKENS

__all__ = ["CELL", "TOKENS", "write_checkpoint"]

VISION = qwen3.VISION | {"deepstack_visual_indexes": []}
"""With the empty list that released checkpoints have."""
TEXT = qwen3.TEXT | {
    "head_dim": 64,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "mamba_ssm_dtype": "float32",
    "rope_parameters": {**qwen3.TEXT["rope_parameters"], "partial_rotary_factor": 0.5},
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 48,
}
CENTRED = r"visual.*norm|linear_attn\.norm"
"""The other norms multiply with one more than their weight."""
FADING = -3.0
"""Of a state's logarithmic rate: what is left of a picture some hundred tokens later would else be nothing."""
STEEP, LOUD = 4, 0.04
"""A power that leaves few numbers large, and the size of what it is then brought to."""


def write_checkpoint(
    folder: Path,
    *,
    vision: dict[str, Any] | None = None,
    experts: bool = False,
    tokenizer: bool = False,
    max_pixels: int = qwen3.MAX_PIXELS,
    max_shard_size: str = "1GB",
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> Any:
    """Saves a checkpoint whose images have 4 to 64 soft tokens, or as many as `max_pixels` hold; returns its model."""
    torch.manual_seed(7)
    text = json.loads(json.dumps(TEXT | (EXPERTS if experts else {})))
    given = {**qwen.TOKEN_IDS, "text_config": text, "vision_config": {**VISION, **(vision or {})}, **config}
    model: Any = (
        Qwen3_5MoeForConditionalGeneration(Qwen3_5MoeConfig(**given))
        if experts
        else Qwen3_5ForConditionalGeneration(Qwen3_5Config(**given))
    )
    qwen.randomise(model.eval(), CENTRED)
    _answer_clearly(model)
    model.to(dtype).save_pretrained(folder, max_shard_size=max_shard_size)
    qwen3.write_files(folder, max_pixels=max_pixels, tokenizer=tokenizer)
    return model


@torch.no_grad()
def _answer_clearly(model: Any) -> None:
    """A state that remembers, and words that differ: of plain random ones two are often so nearly as likely that
    bfloat16 cannot tell which is more."""
    for name, parameter in model.named_parameters():
        if name.endswith("A_log"):
            parameter.add_(FADING)
    words = model.lm_head.weight
    words.copy_(words.sign() * words.abs() ** STEEP)
    words.mul_(LOUD / words.std())
