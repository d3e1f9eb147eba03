"""A PaddleOCR-VL that is made in a moment: every parameter random, names as on the hub.

With the tokenizer transformers and vLLM serve it from its folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration, PaddleOCRVLImageProcessor

from tests.service.tiny import LENGTH, MEAN, STD, randomise, token_ids, write_json, write_tokenizer
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

CELL = 28
"""Pixels on a side of what becomes one soft token: 2 × 2 patches of 14."""
MIN_PIXELS, MAX_PIXELS = 4 * CELL**2, 64 * CELL**2
SPECIAL = (
    "<unk>",
    "<s>",
    "</s>",
    "<|begin_of_sentence|>",
    "<|end_of_sentence|>",
    "<|IMAGE_PLACEHOLDER|>",
    "<|image_pad|>",
    "<|IMAGE_START|>",
    "<|IMAGE_END|>",
    "<|video_pad|>",
)
TOKENS = token_ids(SPECIAL)
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 75,  # a table of 5 × 5 positions, and five pixels of no patch
    "patch_size": 14,
    "spatial_merge_size": 2,
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": LENGTH,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0, "mrope_section": [4, 6, 6]},
    "bos_token_id": TOKENS["<s>"],
    "eos_token_id": TOKENS["</s>"],
    "pad_token_id": TOKENS["<unk>"],
}
TEMPLATE = (
    "<|begin_of_sentence|>{% for message in messages %}"
    "{% if message['role'] == 'user' %}User: {% elif message['role'] == 'assistant' %}Assistant:\n{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}"
    "{% for content in message['content'] %}{% if content['type'] in ['image', 'image_url'] %}"
    "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
    "{% endif %}{% endfor %}"
    "{% for content in message['content'] %}{% if content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}</s>{% else %}{{ '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


def write_checkpoint(
    folder: Path,
    *,
    vision: dict[str, Any] | None = None,
    max_pixels: int = MAX_PIXELS,
    **config: Any,
) -> PaddleOCRVLForConditionalGeneration:
    """Saves a checkpoint whose images have 4 to 64 soft tokens, or as many as `max_pixels` hold; returns its model, as
    `trained` makes it."""
    given = {
        "vision_config": {**VISION, **(vision or {})},
        "text_config": json.loads(json.dumps(TEXT)),
        "image_token_id": TOKENS["<|IMAGE_PLACEHOLDER|>"],
        "video_token_id": TOKENS["<|video_pad|>"],
        "vision_start_token_id": TOKENS["<|IMAGE_START|>"],
        "vision_end_token_id": TOKENS["<|IMAGE_END|>"],
        "tie_word_embeddings": False,
        **config,
    }
    model = PaddleOCRVLForConditionalGeneration(PaddleOCRVLConfig(**given)).eval()
    randomise(model)
    model.save_pretrained(folder)
    _add_what_the_hub_has_besides(folder / "model.safetensors", model.config.vision_config.hidden_size)
    _write_processor(folder, max_pixels)
    write_tokenizer(
        folder,
        SPECIAL,
        TEMPLATE,
        processor_class="PaddleOCRVLProcessor",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        unk_token="<unk>",
        cls_token="<|begin_of_sentence|>",
        sep_token="<|end_of_sentence|>",
        image_token="<|IMAGE_PLACEHOLDER|>",
    )
    trained(model)
    return model


def trained(model: Any) -> None:
    """The table of positions read as in training, and as vLLM does: half a patch from the image's edge.

    transformers 5.19 has moved its corners to the image's corners.
    """
    model.model.visual.vision_model.embeddings.interpolation_align_corners = False


def _add_what_the_hub_has_besides(file: Path, hidden: int) -> None:
    """Tensors of training that neither transformers nor vLLM reads."""
    unread = {
        "visual.vision_model.embeddings.packing_position_embedding.weight": torch.ones(40, hidden),
        "visual.vision_model.head.probe": torch.ones(1, 1, hidden),
    }
    save_file({**load_file(file), **unread}, file, {"format": "pt"})


def _write_processor(folder: Path, max_pixels: int) -> None:
    write_json(
        folder,
        "preprocessor_config",
        {
            "image_processor_type": "PaddleOCRVLImageProcessor",
            "processor_class": "PaddleOCRVLProcessor",
            "image_mean": MEAN,
            "image_std": STD,
            "min_pixels": MIN_PIXELS,
            "max_pixels": max_pixels,
            "patch_size": 14,
            "temporal_patch_size": 1,
            "merge_size": 2,
        },
    )


@torch.inference_mode()
def soft_tokens(
    folder: Path, model: PaddleOCRVLForConditionalGeneration, images: Sequence[Image.Image]
) -> list[torch.Tensor]:
    """What transformers makes of all pictures at once: [tokens, width] each."""
    trained(model)
    seen = PaddleOCRVLImageProcessor.from_pretrained(folder)(list(images), return_tensors="pt")
    features = model.model.get_image_features(
        seen["pixel_values"].to(model.dtype), seen["image_grid_thw"], return_dict=True
    )
    return list(features.pooler_output)
