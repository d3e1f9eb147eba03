"""Checkpoints of LLaVA-1.5 and LLaVA-NeXT that are made in a moment: every parameter random, names as on the hub.

With a tokenizer transformers and vLLM serve them from their folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
)

from tests.service.tiny import LENGTH, MEAN, STD, name_as_the_hub_does, randomise, token_ids, write_tokenizer
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

TILE, PATCH = 56, 14
GRID = TILE // PATCH
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
TOKENS = token_ids(SPECIAL)
PINPOINTS = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
"""(height, width)"""
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": PATCH,
}
TEXT = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": LENGTH,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "bos_token_id": TOKENS["<s>"],
    "eos_token_id": TOKENS["</s>"],
    "pad_token_id": TOKENS["<pad>"],
}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}<image>\n"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
Model = LlavaForConditionalGeneration | LlavaNextForConditionalGeneration


def write_checkpoint(
    folder: Path,
    *,
    anyres: bool,
    vision: dict[str, Any] | None = None,
    processor: dict[str, Any] | None = None,
    **config: Any,
) -> Model:
    """Saves a LLaVA-NeXT (`anyres`) or a LLaVA-1.5 with its tokenizer, and returns it."""
    given = {
        "vision_config": {"model_type": "clip_vision_model", **VISION, **(vision or {})},
        "text_config": json.loads(json.dumps(TEXT)),
        "image_token_index": TOKENS["<image>"],
        "image_seq_length": GRID**2,
        **({"image_grid_pinpoints": PINPOINTS} if anyres else {}),
        **config,
    }
    model: Model = (
        LlavaNextForConditionalGeneration(LlavaNextConfig(**given))
        if anyres
        else LlavaForConditionalGeneration(LlavaConfig(**given))
    ).eval()
    randomise(model)
    model.save_pretrained(folder)
    name_as_the_hub_does(folder / "model.safetensors")
    _write_processor(folder, anyres, given["vision_config"], processor or {}, config)
    write_tokenizer(
        folder,
        SPECIAL,
        TEMPLATE,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        image_token="<image>",
    )
    return model


def _write_processor(
    folder: Path, anyres: bool, vision: dict[str, Any], changes: dict[str, Any], config: dict[str, Any]
) -> None:
    kind = "LlavaNext" if anyres else "Llava"
    side = vision["image_size"]
    images = {
        "image_processor_type": "LlavaNextImageProcessor" if anyres else "CLIPImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "do_center_crop": True,
        **({"image_grid_pinpoints": config.get("image_grid_pinpoints", PINPOINTS)} if anyres else {}),
        **changes,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    clip = vision["model_type"] == "clip_vision_model"
    whole = {
        "processor_class": f"{kind}Processor",
        "patch_size": PATCH,
        "vision_feature_select_strategy": config.get("vision_feature_select_strategy", "default"),
        "num_additional_image_tokens": 1 if clip else 0,
        "image_token": "<image>",
    }
    (folder / "processor_config.json").write_text(json.dumps(whole))


@torch.inference_mode()
def soft_tokens(folder: Path, model: Model, images: Sequence[Image.Image]) -> list[torch.Tensor]:
    """What transformers makes of each picture: [tokens, width]"""
    kind = (
        LlavaNextImageProcessor
        if isinstance(model, LlavaNextForConditionalGeneration)
        else CLIPImageProcessor
    )
    processor = kind.from_pretrained(folder)
    tokens = []
    for image in images:
        inputs = processor(images=[image], return_tensors="pt")
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        features = model.model.get_image_features(
            **inputs,
            vision_feature_layer=model.config.vision_feature_layer,
            vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        )
        tokens.append(features.pooler_output[0])
    return tokens
