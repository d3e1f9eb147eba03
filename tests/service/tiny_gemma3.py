"""A Gemma 3 that is made in a moment: every parameter random, names as on the hub.

Its two layers attend within a window and over everything. transformers and vLLM serve it from its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessor

from tests.service.tiny import (
    LENGTH,
    MEAN,
    STD,
    name_as_the_hub_does,
    randomise,
    speak_up,
    token_ids,
    write_json,
    write_tokenizer,
)
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

TILE, PATCH, SOFT = 112, 14, 16
"""64 patches, averaged by fours"""
NEWLINES = tuple("\n" * count for count in range(1, 7))
SPECIAL = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
    *NEWLINES,
)
TOKENS = token_ids(SPECIAL)
NAMED = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": PATCH,
    "vision_use_head": False,
}
TEXT = {
    "model_type": "gemma3_text",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "max_position_embeddings": LENGTH,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "bos_token_id": TOKENS["<bos>"],
    "eos_token_id": TOKENS["<eos>"],
    "pad_token_id": TOKENS["<pad>"],
}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}<start_of_image>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_turn>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def write_checkpoint(
    folder: Path, *, vision: dict[str, Any] | None = None, **config: Any
) -> Gemma3ForConditionalGeneration:
    """Saves it with its tokenizer, and returns it."""
    given = {
        "vision_config": {**VISION, **(vision or {})},
        "text_config": dict(TEXT),
        "mm_tokens_per_image": SOFT,
        "boi_token_index": TOKENS["<start_of_image>"],
        "eoi_token_index": TOKENS["<end_of_image>"],
        "image_token_index": TOKENS["<image_soft_token>"],
        **config,
    }
    model = Gemma3ForConditionalGeneration(Gemma3Config(**given)).eval()
    randomise(model)
    text = model.model.language_model
    speak_up(text.embed_tokens.weight, text.norm.weight)
    model.save_pretrained(folder)
    name_as_the_hub_does(folder / "model.safetensors")
    side = given["vision_config"]["image_size"]
    images = {
        "image_processor_type": "Gemma3ImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 2,
        "size": {"height": side, "width": side},
        "do_pan_and_scan": None,
    }
    write_json(folder, "preprocessor_config", images)
    tokens = given["mm_tokens_per_image"]
    write_json(folder, "processor_config", {"processor_class": "Gemma3Processor", "image_seq_length": tokens})
    write_tokenizer(
        folder,
        SPECIAL,
        TEMPLATE,
        plain=NEWLINES,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens=NAMED,
        **NAMED,
    )
    return model


@torch.inference_mode()
def soft_tokens(
    folder: Path, model: Gemma3ForConditionalGeneration, images: Sequence[Image.Image]
) -> list[torch.Tensor]:
    """What transformers makes of each picture: [tokens, width]"""
    seen = Gemma3ImageProcessor.from_pretrained(folder)(images=list(images), return_tensors="pt")
    features = model.model.get_image_features(seen["pixel_values"].to(model.dtype))
    return list(features.pooler_output)
