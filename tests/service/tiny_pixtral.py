"""Checkpoints of Mistral 3 and Pixtral 12B that are made in a moment: every parameter random, names as on the hub.

With a tokenizer transformers and vLLM serve them from their folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
)

from tests.service.tiny_qwen_vl import FIRST_SPECIAL, WORDS, randomise

EDGE = 224
"""Pixels of the longer side at most: 8 × 8 cells of Mistral 3, 14 × 14 of Pixtral 12B."""
MEAN = [0.48, 0.46, 0.41]
STD = [0.27, 0.26, 0.28]
SPECIAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>", "[IMG]", "[IMG_BREAK]", "[IMG_END]")
TOKENS = {text: FIRST_SPECIAL + number for number, text in enumerate(SPECIAL)}
VISION = {
    "model_type": "pixtral",
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "hidden_act": "silu",
}
TEXT = {
    "model_type": "mistral",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "sliding_window": None,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "bos_token_id": TOKENS["<s>"],
    "eos_token_id": TOKENS["</s>"],
    "pad_token_id": TOKENS["<pad>"],
}
TEMPLATE = (
    "<s>{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] }}</s>"
    "{% else %}[INST]"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}[IMG]"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}[/INST]{% endif %}"
    "{% endfor %}"
)
Model = Mistral3ForConditionalGeneration | LlavaForConditionalGeneration


def write_checkpoint(
    folder: Path,
    *,
    merges: bool = True,
    edge: int = EDGE,
    vision: dict[str, Any] | None = None,
    **config: Any,
) -> Model:
    """Saves a Mistral 3 (`merges`) or a Pixtral 12B with its tokenizer, and returns it."""
    torch.manual_seed(7)
    patch = 14 if merges else 16
    given = {
        "vision_config": {**VISION, "image_size": edge, "patch_size": patch, **(vision or {})},
        "text_config": json.loads(json.dumps(TEXT)),
        "image_token_index": TOKENS["[IMG]"],
        "tie_word_embeddings": False,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        **({"spatial_merge_size": 2} if merges else {"vision_feature_select_strategy": "full"}),
        **config,
    }
    model: Model = (
        Mistral3ForConditionalGeneration(Mistral3Config(**given))
        if merges
        else LlavaForConditionalGeneration(LlavaConfig(**given))
    ).eval()
    randomise(model, "(norm|ln_pre)")
    model.save_pretrained(folder)
    _name_as_the_hub_does(folder / "model.safetensors")
    _write_processor(folder, edge, patch, getattr(model.config, "spatial_merge_size", 1))
    _write_tokenizer(folder)
    return model


def _name_as_the_hub_does(file: Path) -> None:
    """Without the `model.` in front that some versions of transformers write."""
    names = {
        "model.language_model.": "language_model.model.",
        "model.vision_tower.": "vision_tower.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "lm_head.": "language_model.lm_head.",
    }

    def named(name: str) -> str:
        found = next((old for old in names if name.startswith(old)), "")
        return names.get(found, "") + name.removeprefix(found)

    save_file({named(name): tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"})


def _write_processor(folder: Path, edge: int, patch: int, merge: int) -> None:
    images = {
        "image_processor_type": "PixtralImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "patch_size": {"height": patch, "width": patch},
        "size": {"longest_edge": edge},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    whole = {
        "processor_class": "PixtralProcessor",
        "patch_size": patch,
        "spatial_merge_size": merge,
        "image_token": "[IMG]",
        "image_break_token": "[IMG_BREAK]",
        "image_end_token": "[IMG_END]",
    }
    (folder / "processor_config.json").write_text(json.dumps(whole))


def _write_tokenizer(folder: Path) -> None:
    """The embedded model's words and Mistral's special tokens."""
    words = json.loads(WORDS.read_text(encoding="utf-8"))
    looks = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    words["added_tokens"] = [{"id": number, "content": text, **looks} for text, number in TOKENS.items()]
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "PixtralProcessor",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": TEXT["max_position_embeddings"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


@torch.inference_mode()
def soft_tokens(folder: Path, model: Model, images: Sequence[Image.Image]) -> list[torch.Tensor]:
    """What transformers makes of all pictures at once: [tokens, width] each."""
    processor = PixtralImageProcessor.from_pretrained(folder)
    config = model.config
    cell = config.vision_config.patch_size * getattr(config, "spatial_merge_size", 1)
    inputs = processor(images=list(images), patch_size=cell, return_tensors="pt")
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    features = model.model.get_image_features(
        **inputs,
        vision_feature_layer=config.vision_feature_layer,
        **({} if config.model_type == "mistral3" else {"vision_feature_select_strategy": "full"}),
    )
    return list(features.pooler_output)
