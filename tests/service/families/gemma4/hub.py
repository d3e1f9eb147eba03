"""The files of a checkpoint as the hub has them, of gemma-4-26b-a4b-it."""

from __future__ import annotations

from typing import Any

VISION: dict[str, Any] = {
    "default_output_length": 280,
    "head_dim": 72,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "model_type": "gemma4_vision",
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "num_key_value_heads": 16,
    "patch_size": 16,
    "pooling_kernel_size": 3,
    "position_embedding_size": 10240,
    "standardize": True,
}
TEXT: dict[str, Any] = {
    "hidden_size": 2816,
    "head_dim": 256,
    "model_type": "gemma4_text",
    "num_attention_heads": 16,
    "num_hidden_layers": 30,
    "num_key_value_heads": 8,
    "sliding_window": 1024,
    "use_bidirectional_attention": "vision",
}
CONFIG: dict[str, Any] = {
    "architectures": ["Gemma4ForConditionalGeneration"],
    "boi_token_id": 255999,
    "dtype": "bfloat16",
    "eoi_token_id": 258882,
    "image_token_id": 258880,
    "model_type": "gemma4",
    "text_config": TEXT,
    "vision_config": VISION,
}
IMAGES: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": False,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.0, 0.0, 0.0],
    "image_processor_type": "Gemma4ImageProcessor",
    "image_seq_length": 280,
    "image_std": [1.0, 1.0, 1.0],
    "max_soft_tokens": 280,
    "patch_size": 16,
    "pooling_kernel_size": 3,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
}
PROCESSOR: dict[str, Any] = {
    "image_processor": IMAGES,
    "image_seq_length": 280,
    "processor_class": "Gemma4Processor",
}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {}},
    "added_tokens": [
        {"id": 255999, "content": "<|image>"},
        {"id": 258882, "content": "<image|>"},
        {"id": 258880, "content": "<|image|>"},
    ],
}
