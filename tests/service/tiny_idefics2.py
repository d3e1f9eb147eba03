"""An Idefics2 that is made in a moment: every parameter random, names as on the hub.

Its pictures have 4 to 25 patches, more than the table has places, and a Perceiver of five latents. transformers serves
it from its folder, and vLLM does with Patchbay's plugin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Idefics2Config, Idefics2ForConditionalGeneration, Idefics2ImageProcessor

from tests.service.tiny import LENGTH, MEAN, STD, randomise, token_ids, write_json, write_tokenizer
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

PATCH, SHORTEST, LONGEST, LATENTS = 14, 30, 75, 5
"""Of pixels that fill no patch there are some at most sizes."""
SPECIAL = ("<unk>", "<s>", "</s>", "<fake_token_around_image>", "<image>", "<end_of_utterance>")
TOKENS = token_ids(SPECIAL)
NAMED = {"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 4 * PATCH,
    "patch_size": PATCH,
}
PERCEIVER = {
    "hidden_size": 64,
    "resampler_n_latents": LATENTS,
    "resampler_depth": 2,
    "resampler_n_heads": 4,
    "resampler_head_dim": 8,
    "num_key_value_heads": 2,
}
TEXT = {
    "model_type": "mistral",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": LENGTH,
    "sliding_window": None,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "bos_token_id": TOKENS["<s>"],
    "eos_token_id": TOKENS["</s>"],
    "pad_token_id": TOKENS["<unk>"],
}
TEMPLATE = (
    "<s>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['content'] is string %} {{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}<image>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_utterance>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def write_checkpoint(
    folder: Path,
    *,
    vision: dict[str, Any] | None = None,
    processor: dict[str, Any] | None = None,
    **config: Any,
) -> Idefics2ForConditionalGeneration:
    """Saves it with its tokenizer, and returns it."""
    given = {
        "vision_config": {**VISION, **(vision or {})},
        "perceiver_config": dict(PERCEIVER),
        "text_config": dict(TEXT),
        "image_token_id": TOKENS["<image>"],
        **config,
    }
    model = Idefics2ForConditionalGeneration(Idefics2Config(**given)).eval()
    randomise(model)
    model.save_pretrained(folder)
    images = {
        "image_processor_type": "Idefics2ImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 2,
        "size": {"shortest_edge": SHORTEST, "longest_edge": LONGEST},
        "do_image_splitting": True,
        **(processor or {}),
    }
    write_json(folder, "preprocessor_config", images)
    latents = given["perceiver_config"]["resampler_n_latents"]
    write_json(folder, "processor_config", {"processor_class": "Idefics2Processor", "image_seq_len": latents})
    write_tokenizer(
        folder,
        SPECIAL,
        TEMPLATE,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        unk_token="<unk>",
        extra_special_tokens=NAMED,
        **NAMED,
    )
    return model


@torch.inference_mode()
def soft_tokens(
    folder: Path, model: Idefics2ForConditionalGeneration, images: Sequence[Image.Image], **options: Any
) -> list[torch.Tensor]:
    """What transformers makes of each picture: [tokens, width]"""
    processor = Idefics2ImageProcessor.from_pretrained(folder)
    made = []
    for image in images:
        seen = processor(images=[[image]], return_tensors="pt", **options)
        features = model.model.get_image_features(
            seen["pixel_values"].to(model.dtype), seen["pixel_attention_mask"]
        )
        made.append(features.pooler_output.flatten(0, 1))
    return made
