"""A Command A Vision that is made in a moment: every parameter random, names as on the hub.

transformers and vLLM serve it from its folder. One layer of its language model attends within a window, with rotary
positions, and one to everything, without any.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    Cohere2VisionConfig,
    Cohere2VisionForConditionalGeneration,
    Cohere2VisionImageProcessor,
)

from tests.service.tiny import (
    LENGTH,
    MEAN,
    STD,
    randomise,
    speak_up,
    token_ids,
    write_json,
    write_tokenizer,
)
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

TILE, PATCH, FACTOR, MOST = 56, 14, 2, 6
SIDE = TILE // PATCH // FACTOR
"""Soft tokens on a side of a tile."""
NAMED = {
    "boi_token": "<|START_OF_IMG|>",
    "eoi_token": "<|END_OF_IMG|>",
    "image_token": "<|IMG_PATCH|>",
    "img_line_break_token": "<|IMG_LINE_BREAK|>",
}
SPECIAL = (
    "<PAD>",
    "<BOS_TOKEN>",
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|USER_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    *NAMED.values(),
)
TOKENS = token_ids(SPECIAL)
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
    "model_type": "cohere2",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": LENGTH,  # transformers looks one token less far back than vLLM
    "logit_scale": 1.0,  # which transformers leaves out
    "max_position_embeddings": LENGTH,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "bos_token_id": TOKENS["<BOS_TOKEN>"],
    "eos_token_id": TOKENS["<|END_OF_TURN_TOKEN|>"],
    "pad_token_id": TOKENS["<PAD>"],
}
TEMPLATE = (
    "<BOS_TOKEN>{% for message in messages %}<|START_OF_TURN_TOKEN|>"
    "{% if message['role'] == 'user' %}<|USER_TOKEN|>{% else %}<|CHATBOT_TOKEN|>{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}<|IMG_PATCH|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|END_OF_TURN_TOKEN|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}"
)
Model = Cohere2VisionForConditionalGeneration


def write_checkpoint(
    folder: Path,
    *,
    vision: dict[str, Any] | None = None,
    processor: dict[str, Any] | None = None,
    **config: Any,
) -> Model:
    """Saves it with its tokenizer and returns it."""
    given = {
        "vision_config": {**VISION, **(vision or {})},
        "text_config": dict(TEXT),
        "image_token_id": TOKENS["<|IMG_PATCH|>"],
        "downsample_factor": FACTOR,
        "alignment_intermediate_size": 80,
        **config,
    }
    model = Model(Cohere2VisionConfig(**given)).eval()
    randomise(model)
    language = model.model.language_model
    speak_up(language.embed_tokens.weight, language.norm.weight)
    model.save_pretrained(folder)
    _name_as_the_hub_does(folder / "model.safetensors")
    side = given["vision_config"]["image_size"]
    images = {
        "image_processor_type": "Cohere2VisionImageProcessorFast",
        "processor_class": "Cohere2VisionProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "size": {"height": side, "width": side},
        "patch_size": side // given["vision_config"]["patch_size"] // given["downsample_factor"],
        "crop_to_patches": True,
        "min_patches": 1,
        "max_patches": MOST,
        **(processor or {}),
    }
    write_json(folder, "preprocessor_config", images)
    write_json(folder, "processor_config", {"processor_class": "Cohere2VisionProcessor"})
    write_tokenizer(
        folder,
        SPECIAL,
        TEMPLATE,
        bos_token="<BOS_TOKEN>",
        eos_token="<|END_OF_TURN_TOKEN|>",
        pad_token="<PAD>",
        **NAMED,
    )
    return model


def _name_as_the_hub_does(file: Path) -> None:
    """transformers 5 leaves `vision_model` out of the names in a `vision_tower`."""
    named = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1): tensor
        for name, tensor in load_file(file).items()
    }
    save_file(named, file, {"format": "pt"})


@torch.inference_mode()
def soft_tokens(folder: Path, model: Model, images: Sequence[Image.Image]) -> list[torch.Tensor]:
    """What transformers makes of each picture: [tokens, width]"""
    processor = Cohere2VisionImageProcessor.from_pretrained(folder)
    made = []
    for image in images:
        pixels = processor(images=[image], return_tensors="pt")["pixel_values"]
        features = model.model.get_image_features(pixel_values=pixels.to(model.dtype))
        made.append(features.pooler_output.flatten(0, 1))
    return made
