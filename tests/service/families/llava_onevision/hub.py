"""The files of a checkpoint as the hub has them, of llava-onevision-qwen2-7b-ov-hf."""

from __future__ import annotations

from typing import Any

PINPOINTS = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
VISION: dict[str, Any] = {
    "hidden_size": 1152,
    "image_size": 384,
    "intermediate_size": 4304,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 26,
    "patch_size": 14,
    "vision_use_head": False,
}
CONFIG: dict[str, Any] = {
    "architectures": ["LlavaOnevisionForConditionalGeneration"],
    "image_grid_pinpoints": PINPOINTS,
    "image_token_index": 151646,
    "model_type": "llava_onevision",
    "projector_hidden_act": "gelu",
    "text_config": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "model_type": "qwen2",
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152000,
    },
    "torch_dtype": "float16",
    "use_image_newline_parameter": True,
    "video_token_index": 151647,
    "vision_aspect_ratio": "anyres_max_9",
    "vision_config": VISION,
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "full",
}
PROCESSOR: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_grid_pinpoints": PINPOINTS,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "LlavaOnevisionImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "LlavaOnevisionProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 384, "width": 384},
}
WHOLE: dict[str, Any] = {
    "image_token": "<image>",
    "num_image_tokens": 729,
    "processor_class": "LlavaOnevisionProcessor",
    "video_token": "<video>",
    "vision_aspect_ratio": "anyres_max_9",
    "vision_feature_select_strategy": "full",
}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {"a": 0}},
    "added_tokens": [{"id": 151646, "content": "<image>"}, {"id": 151647, "content": "<video>"}],
}
