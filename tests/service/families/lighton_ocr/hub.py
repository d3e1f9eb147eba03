"""The files of LightOnOCR-1B-1025, as released and with the names that transformers gives when it saves them."""

from __future__ import annotations

from typing import Any

from tests.service.families.pixtral import hub as pixtral

VISION: dict[str, Any] = pixtral.VISION
CONFIG: dict[str, Any] = {
    "architectures": ["LightOnOcrForConditionalGeneration"],
    "dtype": "bfloat16",
    "image_token_id": 151655,
    "model_type": "lighton_ocr",
    "multimodal_projector_bias": False,
    "projector_hidden_act": "gelu",
    "spatial_merge_size": 2,
    "text_config": {
        "attention_bias": False,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "max_position_embeddings": 8192,
        "model_type": "qwen3",
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    },
    "vision_config": VISION,
    "vision_feature_layer": -1,
}
RELEASED_CONFIG: dict[str, Any] = {
    **CONFIG,
    "architectures": ["LightOnOCRForConditionalGeneration"],
    "model_type": "mistral3",
}
PROCESSOR: dict[str, Any] = {
    "crop_size": None,
    "do_center_crop": None,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_pad": None,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "PixtralImageProcessorFast",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "patch_size": 14,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"longest_edge": 1540},
}
WHOLE: dict[str, Any] = {
    "image_break_token": "<|vision_pad|>",
    "image_end_token": "<|vision_end|>",
    "image_token": "<|image_pad|>",
    "patch_size": 14,
    "spatial_merge_size": 2,
}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {"a": 20}},
    "added_tokens": [
        {"id": 151653, "content": "<|vision_end|>"},
        {"id": 151654, "content": "<|vision_pad|>"},
        {"id": 151655, "content": "<|image_pad|>"},
    ],
}
