"""The files of a checkpoint as the hub has them, of GLM-4.1V-9B-Thinking."""

from __future__ import annotations

from typing import Any

VISION: dict[str, Any] = {
    "attention_bias": False,
    "depth": 24,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "image_size": 336,
    "in_channels": 3,
    "intermediate_size": 13696,
    "model_type": "glm4v",
    "num_heads": 12,
    "out_hidden_size": 4096,
    "patch_size": 14,
    "rms_norm_eps": 1e-05,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
CONFIG: dict[str, Any] = {
    "architectures": ["Glm4vForConditionalGeneration"],
    "image_start_token_id": 151339,
    "image_end_token_id": 151340,
    "image_token_id": 151343,
    "video_token_id": 151344,
    "model_type": "glm4v",
    "text_config": {
        "attention_bias": True,
        "hidden_size": 4096,
        "intermediate_size": 13696,
        "max_position_embeddings": 65536,
        "model_type": "glm4v_text",
        "num_attention_heads": 32,
        "num_hidden_layers": 40,
        "num_key_value_heads": 2,
        "vocab_size": 151552,
    },
    "torch_dtype": "bfloat16",
    "vision_config": VISION,
}
PROCESSOR: dict[str, Any] = {
    "do_rescale": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "Glm4vImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "merge_size": 2,
    "patch_size": 14,
    "processor_class": "Glm4vProcessor",
    "size": {"shortest_edge": 12544, "longest_edge": 9633792},
    "temporal_patch_size": 2,
}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {"a": 0}},
    "added_tokens": [
        {"id": 151339, "content": "<|begin_of_image|>"},
        {"id": 151340, "content": "<|end_of_image|>"},
        {"id": 151341, "content": "<|begin_of_video|>"},
        {"id": 151342, "content": "<|end_of_video|>"},
        {"id": 151343, "content": "<|image|>"},
        {"id": 151344, "content": "<|video|>"},
    ],
}
