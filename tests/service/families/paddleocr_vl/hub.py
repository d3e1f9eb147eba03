"""The files of a checkpoint as the hub has them, of PaddleOCR-VL."""

from __future__ import annotations

from typing import Any

VISION: dict[str, Any] = {
    "architectures": ["PaddleOCRVisionModel"],
    "attention_dropout": 0.0,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 1152,
    "image_size": 384,
    "intermediate_size": 4304,
    "layer_norm_eps": 1e-06,
    "model_type": "paddleocr_vl",
    "num_attention_heads": 16,
    "num_channels": 3,
    "num_hidden_layers": 27,
    "pad_token_id": 0,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "tokens_per_second": 2,
    "torch_dtype": "bfloat16",
}
CONFIG: dict[str, Any] = {
    "architectures": ["PaddleOCRVLForConditionalGeneration"],
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "image_token_id": 100295,
    "intermediate_size": 3072,
    "max_position_embeddings": 131072,
    "model_type": "paddleocr_vl",
    "num_attention_heads": 16,
    "num_hidden_layers": 18,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
    "rope_theta": 500000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_bias": False,
    "video_token_id": 101307,
    "vision_config": VISION,
    "vision_end_token_id": 101306,
    "vision_start_token_id": 101305,
    "vocab_size": 103424,
}
PROCESSOR: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "PaddleOCRVLImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "max_pixels": 2822400,
    "merge_size": 2,
    "min_pixels": 147384,
    "patch_size": 14,
    "processor_class": "PaddleOCRVLProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "temporal_patch_size": 1,
}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {"a": 0}},
    "added_tokens": [
        {"id": 100295, "content": "<|IMAGE_PLACEHOLDER|>"},
        {"id": 101304, "content": "<|image_pad|>"},
        {"id": 101305, "content": "<|IMAGE_START|>"},
        {"id": 101306, "content": "<|IMAGE_END|>"},
        {"id": 101307, "content": "<|video_pad|>"},
    ],
}
