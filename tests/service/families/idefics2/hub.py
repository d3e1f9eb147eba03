"""The files of a checkpoint as the hub has them, of idefics2-8b."""

from __future__ import annotations

from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["Idefics2ForConditionalGeneration"],
    "image_token_id": 32001,
    "model_type": "idefics2",
    "perceiver_config": {"model_type": "idefics2_perceiver", "resampler_n_latents": 64},
    "text_config": {"model_type": "mistral", "vocab_size": 32003},
    "vision_config": {
        "hidden_size": 1152,
        "image_size": 980,
        "intermediate_size": 4304,
        "model_type": "idefics2",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
    },
}
PROCESSOR: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_image_splitting": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "Idefics2ImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"longest_edge": 980, "shortest_edge": 378},
}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {}},
    "added_tokens": [
        {"id": 32000, "content": "<fake_token_around_image>"},
        {"id": 32001, "content": "<image>"},
        {"id": 32002, "content": "<end_of_utterance>"},
    ],
}
WHOLE = {"image_seq_len": 64, "processor_class": "Idefics2Processor"}
