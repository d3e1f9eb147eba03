"""The files of a checkpoint as the hub has them, of Qwen2.5-VL-7B-Instruct."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "hidden_size": 3584,
    "image_token_id": 151655,
    "vision_config": {
        "depth": 32,
        "hidden_act": "silu",
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
    },
}
PROCESSOR: dict[str, Any] = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {"a": 0}},
    "added_tokens": [
        {"id": 151652, "content": "<|vision_start|>"},
        {"id": 151653, "content": "<|vision_end|>"},
        {"id": 151654, "content": "<|vision_pad|>"},
        {"id": 151655, "content": "<|image_pad|>"},
        {"id": 151656, "content": "<|video_pad|>"},
    ],
}

Write = Callable[..., Path]
