"""The files of a checkpoint in the hub's layout, with the sizes of Qwen3.5-27B."""

from __future__ import annotations

from typing import Any

from tests.service.families.native import hub
from tests.service.families.qwen3_vl import hub as qwen3_vl

TEXT: dict[str, Any] = {
    "attn_output_gate": True,
    "dtype": "bfloat16",
    "full_attention_interval": 4,
    "head_dim": 256,
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 16,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 48,
    "linear_value_head_dim": 128,
    "mamba_ssm_dtype": "float32",
    "max_position_embeddings": 262144,
    "model_type": "qwen3_5_text",
    "num_attention_heads": 24,
    "num_hidden_layers": 64,
    "num_key_value_heads": 4,
    "vocab_size": 248320,
}
VISION: dict[str, Any] = {
    **qwen3_vl.VISION,
    "deepstack_visual_indexes": [],
    "model_type": "qwen3_5",
    "out_hidden_size": 5120,
}
CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "image_token_id": 248056,
    "model_type": "qwen3_5",
    "text_config": TEXT,
    "tie_word_embeddings": False,
    "video_token_id": 248057,
    "vision_config": VISION,
    "vision_end_token_id": 248054,
    "vision_start_token_id": 248053,
}
MOE_CONFIG: dict[str, Any] = {
    **CONFIG,
    "architectures": ["Qwen3_5MoeForConditionalGeneration"],
    "model_type": "qwen3_5_moe",
    "text_config": {"dtype": "bfloat16", "max_position_embeddings": 262144, "model_type": "qwen3_5_moe_text"},
    "vision_config": {**VISION, "model_type": "qwen3_5_moe", "out_hidden_size": 2048},
}
"""Of Qwen3.5-35B-A3B, whose language model has the sizes that are transformers' defaults."""
PROCESSOR: dict[str, Any] = qwen3_vl.PROCESSOR
FIRST = 248053
TOKENIZER: dict[str, Any] = {
    **hub.TOKENIZER,
    "added_tokens": [
        {**token, "id": FIRST + number} for number, token in enumerate(hub.TOKENIZER["added_tokens"])
    ],
}
