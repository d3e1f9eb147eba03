"""The files of a checkpoint as the hub has them, of paligemma-3b-mix-224 and paligemma2-3b-mix-448."""

from __future__ import annotations

from typing import Any

VISION: dict[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "num_image_tokens": 256,
    "patch_size": 14,
    "projection_dim": 2048,
    "projector_hidden_act": "gelu_fast",
    "vision_use_head": False,
}
CONFIG: dict[str, Any] = {
    "architectures": ["PaliGemmaForConditionalGeneration"],
    "bos_token_id": 2,
    "eos_token_id": 1,
    "hidden_size": 2048,
    "image_token_index": 257152,
    "model_type": "paligemma",
    "pad_token_id": 0,
    "projection_dim": 2048,
    "text_config": {
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "model_type": "gemma",
        "num_attention_heads": 8,
        "num_hidden_layers": 18,
        "num_image_tokens": 256,
        "num_key_value_heads": 1,
        "torch_dtype": "float32",
        "vocab_size": 257216,
    },
    "torch_dtype": "float32",
    "vision_config": VISION,
}
SECOND_CONFIG: dict[str, Any] = {
    **CONFIG,
    "projection_dim": 2304,
    "text_config": {
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "model_type": "gemma2",
        "num_attention_heads": 8,
        "num_hidden_layers": 26,
        "num_image_tokens": 1024,
        "num_key_value_heads": 4,
        "vocab_size": 257216,
    },
    "vision_config": {**VISION, "image_size": 448, "num_image_tokens": 1024, "projection_dim": 2304},
}
PROCESSOR: dict[str, Any] = {
    "do_convert_rgb": None,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "image_seq_length": 256,
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "PaliGemmaProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 224, "width": 224},
}
SECOND_PROCESSOR = PROCESSOR | {"image_seq_length": 1024, "size": {"height": 448, "width": 448}}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {"\n": 108}},
    "added_tokens": [{"id": 2, "content": "<bos>"}, {"id": 257152, "content": "<image>"}],
}
