"""A LightOnOCR that is made in a moment: every parameter random, names and files as transformers saves them, or as
released.

As in the released ones the table of words is also the output. With its tokenizer transformers serves it from its
folder, vLLM as released, and otherwise with Patchbay's plugin.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import LightOnOcrConfig, LightOnOcrForConditionalGeneration, PixtralImageProcessor

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

PATCH, MERGE, EDGE = 14, 2, 616
"""22 cells, so that `low`, of 512 pixels, looks at less."""
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
)
TOKENS = token_ids(SPECIAL)
NAMED = {
    "image_token": "<|image_pad|>",
    "image_break_token": "<|vision_pad|>",
    "image_end_token": "<|vision_end|>",
}
RELEASED = {
    "architectures": ["LightOnOCRForConditionalGeneration"],
    "model_type": "mistral3",
    "multimodal_projector_bias": False,
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -1,
}
"""What config.json has otherwise."""
VISION = {
    "model_type": "pixtral",
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "hidden_act": "silu",
    "patch_size": PATCH,
}
TEXT = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": LENGTH,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "eos_token_id": TOKENS["<|im_end|>"],
    "pad_token_id": TOKENS["<|endoftext|>"],
}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}<|image_pad|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_checkpoint(
    folder: Path,
    *,
    edge: int = EDGE,
    vision: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    released: bool = False,
    **config: Any,
) -> LightOnOcrForConditionalGeneration:
    """Saves it with its tokenizer, and returns it."""
    given = {
        "vision_config": {**VISION, "image_size": edge, **(vision or {})},
        "text_config": {**TEXT, **(text or {})},
        "image_token_id": TOKENS["<|image_pad|>"],
        "spatial_merge_size": MERGE,
        **config,
    }
    model = LightOnOcrForConditionalGeneration(LightOnOcrConfig(**given)).eval()
    randomise(model)
    language = model.model.language_model
    speak_up(language.embed_tokens.weight, language.norm.weight)
    model.save_pretrained(folder)
    if released:
        config_file = folder / "config.json"
        config_file.write_text(json.dumps(json.loads(config_file.read_text()) | RELEASED))
    merge = model.config.spatial_merge_size
    images = {
        "image_processor_type": "PixtralImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        # of a cell: with that of a patch transformers leaves odd lines of patches out
        "patch_size": {"height": PATCH * merge, "width": PATCH * merge},
        "size": {"longest_edge": edge},
    }
    write_json(folder, "preprocessor_config", images)
    whole = {"processor_class": "LightOnOcrProcessor", "patch_size": PATCH, "spatial_merge_size": merge}
    write_json(folder, "processor_config", whole | (NAMED if released else {}))
    write_tokenizer(
        folder,
        SPECIAL,
        TEMPLATE,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        processor_class="LightOnOcrProcessor",
        extra_special_tokens=NAMED,
        **NAMED,
    )
    return model


@torch.inference_mode()
def soft_tokens(
    folder: Path, model: LightOnOcrForConditionalGeneration, images: Sequence[Image.Image]
) -> list[torch.Tensor]:
    """What transformers makes of all pictures at once: [tokens, width] each."""
    inputs = PixtralImageProcessor.from_pretrained(folder)(images=list(images), return_tensors="pt")
    features = model.model.get_image_features(inputs["pixel_values"].to(model.dtype), inputs["image_sizes"])
    return list(features.pooler_output)
