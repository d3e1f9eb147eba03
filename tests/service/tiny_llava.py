"""Checkpoints of LLaVA-1.5 and LLaVA-NeXT that are made in a moment: every parameter random, names as on the hub.

With a tokenizer transformers and vLLM serve them from their folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
)

from tests.service.tiny_qwen_vl import FIRST_SPECIAL, WORDS

TILE, PATCH = 56, 14
GRID = TILE // PATCH
MEAN = [0.48, 0.46, 0.41]
STD = [0.27, 0.26, 0.28]
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
TOKENS = {text: FIRST_SPECIAL + number for number, text in enumerate(SPECIAL)}
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
    "max_position_embeddings": 4096,
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
    torch.manual_seed(7)
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
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.1 if parameter.ndim == 4 else 0.2  # each patch is a sum over 588 bytes
            # norms about one, else the layers between them would hardly count
            centre = 1.0 if "norm" in name or "layrnorm" in name else 0.0
            parameter.copy_(torch.randn_like(parameter) * scale + centre)
    model.save_pretrained(folder)
    _name_as_the_hub_does(folder / "model.safetensors")
    _write_processor(folder, anyres, given["vision_config"], processor or {}, config)
    _write_tokenizer(folder)
    return model


def _name_as_the_hub_does(file: Path) -> None:
    """transformers 5 leaves `vision_model` out of the tower's names."""
    tensors = load_file(file)
    named = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1)
        if name.startswith("vision_tower.") and ".vision_model." not in name
        else name: tensor
        for name, tensor in tensors.items()
    }
    save_file(named, file, {"format": "pt"})


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


def _write_tokenizer(folder: Path) -> None:
    """The embedded model's words and LLaVA's special tokens."""
    words = json.loads(WORDS.read_text(encoding="utf-8"))
    looks = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    words["added_tokens"] = [{"id": number, "content": text, **looks} for text, number in TOKENS.items()]
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "extra_special_tokens": {"image_token": "<image>"},
        "image_token": "<image>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": TEXT["max_position_embeddings"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def pictures(sizes: Sequence[tuple[int, int]], *, seed: int = 0) -> list[Image.Image]:
    """Noise, so that no two pixels or patches are alike."""
    generator = np.random.default_rng(seed)
    return [
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in sizes
    ]


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
