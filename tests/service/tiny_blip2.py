"""A BLIP-2 that is made in a moment: every parameter random, names as on the hub.

transformers and vLLM serve it from its folder; its chat template, of which the released checkpoints have none, writes
the first word and the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Blip2Config, Blip2ForConditionalGeneration, BlipImageProcessor

from tests.service.tiny import LENGTH, MEAN, STD, randomise, token_ids, write_json, write_tokenizer
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

TILE, PATCH, QUERIES = 56, 14, 32
SPECIAL = ("<pad>", "</s>", "<image>")
TOKENS = token_ids(SPECIAL)
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": PATCH,
}
QFORMER = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "encoder_hidden_size": 32,
}
TEXT = {
    "model_type": "opt",
    "hidden_size": 64,
    "word_embed_proj_dim": 64,
    "ffn_dim": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": LENGTH,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "bos_token_id": TOKENS["</s>"],
    "eos_token_id": TOKENS["</s>"],
    "pad_token_id": TOKENS["<pad>"],
}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] if 'text' in content %}{{ content['text'] }}{% endfor %}{% endif %}"
    "{% endfor %}"
)


def write_checkpoint(folder: Path, **config: Any) -> Blip2ForConditionalGeneration:
    """Saves it with its tokenizer, and returns it."""
    given = {
        "vision_config": dict(VISION),
        "qformer_config": dict(QFORMER),
        "text_config": dict(TEXT),
        "num_query_tokens": QUERIES,
        "image_token_index": TOKENS["<image>"],
        **config,
    }
    model = Blip2ForConditionalGeneration(Blip2Config(**given)).eval()
    randomise(model)
    with torch.no_grad():
        # the table of words is also the output: see `speak_up`
        model.language_model.model.decoder.embed_tokens.weight.mul_(0.25)
        model.language_model.model.decoder.final_layer_norm.weight.add_(7.0)
    model.save_pretrained(folder)
    side = given["vision_config"]["image_size"]
    images = {
        "image_processor_type": "BlipImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 3,
        "size": {"height": side, "width": side},
    }
    write_json(folder, "preprocessor_config", images)
    queries = given["num_query_tokens"]
    write_json(folder, "processor_config", {"processor_class": "Blip2Processor", "num_query_tokens": queries})
    write_tokenizer(folder, SPECIAL, TEMPLATE, bos_token="</s>", eos_token="</s>", pad_token="<pad>")
    return model


@torch.inference_mode()
def soft_tokens(
    folder: Path, model: Blip2ForConditionalGeneration, images: Sequence[Image.Image]
) -> list[torch.Tensor]:
    """What transformers makes of each picture: [tokens, width]"""
    seen = BlipImageProcessor.from_pretrained(folder)(images=list(images), return_tensors="pt")
    return list(model.get_image_features(seen["pixel_values"].to(model.dtype)).pooler_output)
