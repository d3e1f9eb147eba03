"""The files of a checkpoint as the hub has them, of SmolVLM2-500M-Video-Instruct."""

from __future__ import annotations

from typing import Any

VISION: dict[str, Any] = {
    "hidden_size": 768,
    "image_size": 512,
    "intermediate_size": 3072,
    "model_type": "smolvlm_vision",
    "num_attention_heads": 12,
    "patch_size": 16,
}
CONFIG: dict[str, Any] = {
    "architectures": ["SmolVLMForConditionalGeneration"],
    "image_token_id": 49190,
    "model_type": "smolvlm",
    "scale_factor": 4,
    "text_config": {"hidden_size": 960, "model_type": "llama"},
    "vision_config": VISION,
}
PROCESSOR: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_image_splitting": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "SmolVLMImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "max_image_size": {"longest_edge": 512},
    "resample": 1,
    "rescale_factor": 0.00392156862745098,
    "size": {"longest_edge": 2048},
}
ADDED = [
    {"id": 49152, "content": "<global-img>"},
    *(
        {"id": 49152 + 6 * (row - 1) + column, "content": f"<row_{row}_col_{column}>"}
        for row in range(1, 7)
        for column in range(1, 7)
    ),
    {"id": 49189, "content": "<fake_token_around_image>"},
    {"id": 49190, "content": "<image>"},
]
TOKENIZER: dict[str, Any] = {"model": {"vocab": {"Ċ": 198, "ĊĊ": 216}}, "added_tokens": ADDED}
WHOLE = {"image_seq_len": 64, "processor_class": "SmolVLMProcessor"}
IDEFICS3_CONFIG: dict[str, Any] = {
    "architectures": ["Idefics3ForConditionalGeneration"],
    "image_token_id": 49190,
    "model_type": "idefics3",
    "scale_factor": 2,
    "text_config": {"hidden_size": 4096, "model_type": "llama"},
    "vision_config": {
        "hidden_size": 1152,
        "image_size": 364,
        "intermediate_size": 4304,
        "model_type": "idefics3_vision",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
    },
}
IDEFICS3_PROCESSOR: dict[str, Any] = {
    **PROCESSOR,
    "image_processor_type": "Idefics3ImageProcessor",
    "max_image_size": {"longest_edge": 364},
    "size": {"longest_edge": 1456},
}
IDEFICS3_WHOLE = {"image_seq_len": 169, "processor_class": "Idefics3Processor"}
