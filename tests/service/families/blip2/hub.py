"""The files of a checkpoint as the hub has them, of blip2-opt-2.7b."""

from __future__ import annotations

from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["Blip2ForConditionalGeneration"],
    "image_token_index": 50265,
    "model_type": "blip-2",
    "num_query_tokens": 32,
    "qformer_config": {"model_type": "blip_2_qformer"},
    "text_config": {
        "ffn_dim": 10240,
        "hidden_size": 2560,
        "model_type": "opt",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "word_embed_proj_dim": 2560,
    },
    "torch_dtype": "float32",
    "use_decoder_only_language_model": True,
    "vision_config": {"dropout": 0.0, "model_type": "blip_2_vision_model", "num_channels": 3},
}
PROCESSOR: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "BlipImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "processor_class": "Blip2Processor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 224, "width": 224},
}
WHOLE: dict[str, Any] = {"num_query_tokens": 32, "processor_class": "Blip2Processor"}
TOKENIZER: dict[str, Any] = {
    "model": {"vocab": {"a": 0}},
    "added_tokens": [{"id": 2, "content": "</s>"}, {"id": 50265, "content": "<image>"}],
}
