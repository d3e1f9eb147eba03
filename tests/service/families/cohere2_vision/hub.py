"""The files of command-a-vision-07-2025 as far as they are public: the hub gives them on request.

Ids of tokens, but for the image's, are stand-ins; the processor is what transformers' class has.
"""

from __future__ import annotations

from typing import Any

VISION: dict[str, Any] = {
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 1152,
    "image_size": 512,
    "intermediate_size": 4304,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 16,
}
CONFIG: dict[str, Any] = {
    "alignment_intermediate_size": 36864,
    "architectures": ["Cohere2VisionForConditionalGeneration"],
    "downsample_factor": 2,
    "image_token_id": 255036,
    "model_type": "cohere2_vision",
    "text_config": {
        "head_dim": 128,
        "hidden_size": 12288,
        "intermediate_size": 36864,
        "logit_scale": 0.25,
        "model_type": "cohere2",
        "num_attention_heads": 96,
        "num_hidden_layers": 64,
        "num_key_value_heads": 8,
        "rope_theta": 50000.0,
        "sliding_window": 4096,
        "vocab_size": 256000,
    },
    "vision_config": VISION,
}
PROCESSOR: dict[str, Any] = {
    "crop_to_patches": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "Cohere2VisionImageProcessorFast",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "max_patches": 12,
    "min_patches": 1,
    "patch_size": 16,
    "processor_class": "Cohere2VisionProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 512, "width": 512},
}
ADDED = [
    {"id": 255032, "content": "<|START_OF_IMG|>"},
    {"id": 255033, "content": "<|END_OF_IMG|>"},
    {"id": 255034, "content": "<|IMG_LINE_BREAK|>"},
    {"id": 255036, "content": "<|IMG_PATCH|>"},
]
TOKENIZER: dict[str, Any] = {"model": {"vocab": {}}, "added_tokens": ADDED}
WHOLE = {"processor_class": "Cohere2VisionProcessor"}
