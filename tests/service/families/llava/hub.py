"""The files of a checkpoint as the hub has them, of llava-1.5-7b-hf and llava-v1.6-mistral-7b-hf."""

from __future__ import annotations

from typing import Any

VISION: dict[str, Any] = {
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "model_type": "clip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 768,
    "vocab_size": 32000,
}
CONFIG: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "ignore_index": -100,
    "image_token_index": 32000,
    "model_type": "llava",
    "pad_token_id": 32001,
    "projector_hidden_act": "gelu",
    "text_config": {
        "max_position_embeddings": 4096,
        "model_type": "llama",
        "rms_norm_eps": 1e-05,
        "torch_dtype": "float16",
        "vocab_size": 32064,
    },
    "torch_dtype": "float16",
    "vision_config": VISION,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}
PROCESSOR: dict[str, Any] = {
    "crop_size": {"height": 336, "width": 336},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "processor_class": "LlavaProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 336},
}
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
NEXT_CONFIG: dict[str, Any] = {
    **CONFIG,
    "architectures": ["LlavaNextForConditionalGeneration"],
    "image_grid_pinpoints": PINPOINTS,
    "model_type": "llava_next",
    "text_config": {
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "model_type": "mistral",
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "vocab_size": 32064,
    },
}
NEXT_PROCESSOR: dict[str, Any] = {
    **PROCESSOR,
    "aspect_ratio_setting": "anyres",
    "do_pad": True,
    "image_grid_pinpoints": PINPOINTS,
    "image_processor_type": "LlavaNextImageProcessor",
    "processor_class": "LlavaNextProcessor",
}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {"a": 0}},
    "added_tokens": [{"id": 32000, "content": "<image>"}, {"id": 32001, "content": "<pad>"}],
}
