"""A checkpoint in Qwen2.5-VL's layout that is made in a moment: every parameter random, so that none can be left out.

Its three layers attend within windows of 4 × 4 cells, over the whole image, and within windows again. With a tokenizer
transformers and vLLM serve it from its folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessor

CELL = 28
"""Pixels on a side of what becomes one soft token: 2 × 2 patches of 14."""
MIN_PIXELS, MAX_PIXELS = 4 * CELL**2, 64 * CELL**2
MEAN = [0.48, 0.46, 0.41]
STD = [0.27, 0.26, 0.28]
VISION = {
    "depth": 3,
    "fullatt_block_indexes": [1],
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 44,
    "out_hidden_size": 64,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
}
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
WORDS = Path(__file__).parents[2] / "demo" / "model" / "tokenizer.json"
FIRST_SPECIAL = 633
"""How many tokens the words of that tokenizer are; the special ones follow."""
TOKENS = {text: FIRST_SPECIAL + number for number, text in enumerate(SPECIAL)}
TOKEN_IDS = {
    "image_token_id": TOKENS["<|image_pad|>"],
    "video_token_id": TOKENS["<|video_pad|>"],
    "vision_start_token_id": TOKENS["<|vision_start|>"],
    "vision_end_token_id": TOKENS["<|vision_end|>"],
}
"""As config.json names them."""
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
    "bos_token_id": None,
    "eos_token_id": TOKENS["<|im_end|>"],
    "pad_token_id": TOKENS["<|endoftext|>"],
}
TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = (
    (56, 56),  # less than one window
    (112, 112),  # exactly one
    (252, 196),  # 9 × 7 cells: windows of all shapes at the edges
    (28, 196),  # one column of cells
    (150, 90),  # resized to 5 × 3 cells
    (640, 480),  # too large: shrunk to 9 × 6 cells
    (30, 40),  # too small: enlarged to 2 × 3 cells
)
"""Widths and heights; the first four need no resizing."""


def write_checkpoint(
    folder: Path,
    *,
    vision: dict[str, Any] | None = None,
    tokenizer: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_shard_size: str = "1GB",
    **config: Any,
) -> Qwen2_5_VLForConditionalGeneration:
    """Saves a checkpoint whose images have 4 to 64 soft tokens, or as many as `max_pixels` hold; returns its model."""
    torch.manual_seed(7)
    given = {**TOKEN_IDS, "text_config": json.loads(json.dumps(TEXT)), **config}
    model = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(vision_config={**VISION, **(vision or {})}, **given)
    ).eval()
    randomise(model)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    write_processor(folder, max_pixels=max_pixels)
    if tokenizer:
        write_tokenizer(folder)
    return model


def randomise(model: torch.nn.Module, centred: str = "(norm|ln_q)") -> None:
    """Every parameter; about one those in whose names `centred` is found: norms, else what is between hardly counts."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.1 if parameter.ndim == 5 else 0.2  # each patch is a sum over 1176 bytes
            centre = 1.0 if re.search(centred, name) else 0.0
            parameter.copy_(torch.randn_like(parameter) * scale + centre)


def write_processor(
    folder: Path,
    *,
    patch: int = 14,
    min_pixels: int = MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
    processor_class: str = "Qwen2_5_VLProcessor",
) -> None:
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": processor_class,
        "image_mean": MEAN,
        "image_std": STD,
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def write_tokenizer(folder: Path, *, processor_class: str = "Qwen2_5_VLProcessor") -> None:
    """The embedded model's words and Qwen's special tokens."""
    words = json.loads(WORDS.read_text(encoding="utf-8"))
    looks = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    words["added_tokens"] = [{"id": number, "content": text, **looks} for text, number in TOKENS.items()]
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "processor_class": processor_class,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "bos_token": None,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": TEXT["max_position_embeddings"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def pictures(sizes: Sequence[tuple[int, int]] = SIZES, *, seed: int = 0) -> list[Image.Image]:
    """Noise, so that no two pixels, cells or windows are alike."""
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]


@torch.inference_mode()
def soft_tokens(
    model: Any, images: Sequence[Image.Image], patch: int = 14, max_pixels: int = MAX_PIXELS
) -> list[torch.Tensor]:
    """What transformers makes of each image: [rows, width], the levels of DeepStack side by side"""
    processor = Qwen2VLImageProcessor(
        min_pixels=4 * (2 * patch) ** 2,
        max_pixels=max_pixels,
        image_mean=MEAN,
        image_std=STD,
        patch_size=patch,
    )
    # pixel_values [patches, 2 · 3 · patch²], image_grid_thw [images, 3]
    seen = processor(list(images), return_tensors="pt")
    features = model.model.get_image_features(
        seen["pixel_values"].to(model.dtype), seen["image_grid_thw"], return_dict=True
    )
    levels = [features.pooler_output, *getattr(features, "deepstack_features", ())]
    return [torch.cat(each, 1) for each in zip(*levels, strict=True)]
