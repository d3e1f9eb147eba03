"""Checkpoints in the layouts of GLM-4.1V and GLM-4.5V that are made in a moment: every parameter random.

With the tokenizer transformers and vLLM serve them from their folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vImageProcessor,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
)

from tests.service.tiny_qwen_vl import FIRST_SPECIAL, WORDS, randomise

CELL = 28
"""Pixels on a side of what becomes one soft token: 2 × 2 patches of 14."""
MIN_PIXELS, MAX_PIXELS = 4 * CELL**2, 64 * CELL**2
MEAN = [0.48, 0.46, 0.41]
STD = [0.27, 0.26, 0.28]
SPECIAL = (
    "<|endoftext|>",
    "[gMASK]",
    "<sop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|image|>",
    "<|video|>",
)
TOKENS = {text: FIRST_SPECIAL + number for number, text in enumerate(SPECIAL)}
VISION = {
    "depth": 3,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 48,
    "out_hidden_size": 64,
    "image_size": 70,  # a table of 5 × 5 positions
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [2, 3, 3],
    },
    "attention_bias": True,  # transformers always has it, and vLLM asks
    "eos_token_id": TOKENS["<|endoftext|>"],
    "pad_token_id": TOKENS["<|endoftext|>"],
}
EXPERTS = {
    "head_dim": 32,  # vLLM asks for these two where there are experts
    "use_qk_norm": False,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}
TEMPLATE = (
    "[gMASK]<sop>{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}<|begin_of_image|><|image|><|end_of_image|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
Model = Glm4vForConditionalGeneration | Glm4vMoeForConditionalGeneration


def write_checkpoint(
    folder: Path,
    *,
    experts: bool = False,
    vision: dict[str, Any] | None = None,
    max_pixels: int = MAX_PIXELS,
    max_shard_size: str = "1GB",
    **config: Any,
) -> Model:
    """Saves a GLM-4.1V, or a GLM-4.5V (`experts`), whose images have 4 to 64 soft tokens, or as many as `max_pixels`
    hold; returns its model."""
    torch.manual_seed(7)
    given = {
        "vision_config": {**VISION, **(vision or {})},
        "text_config": json.loads(json.dumps({**TEXT, **(EXPERTS if experts else {})})),
        "image_token_id": TOKENS["<|image|>"],
        "video_token_id": TOKENS["<|video|>"],
        "image_start_token_id": TOKENS["<|begin_of_image|>"],
        "image_end_token_id": TOKENS["<|end_of_image|>"],
        "video_start_token_id": TOKENS["<|begin_of_video|>"],
        "video_end_token_id": TOKENS["<|end_of_video|>"],
        **config,
    }
    model: Model = (
        Glm4vMoeForConditionalGeneration(Glm4vMoeConfig(**given))
        if experts
        else Glm4vForConditionalGeneration(Glm4vConfig(**given))
    ).eval()
    randomise(model)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    _write_processor(folder, max_pixels)
    _write_tokenizer(folder)
    return model


def _write_processor(folder: Path, max_pixels: int) -> None:
    processor = {
        "image_processor_type": "Glm4vImageProcessor",
        "processor_class": "Glm4vProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "size": {"shortest_edge": 2 * MIN_PIXELS, "longest_edge": 2 * max_pixels},
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    video = {"video_processor_type": "Glm4vVideoProcessor", "processor_class": "Glm4vProcessor"}
    (folder / "video_preprocessor_config.json").write_text(json.dumps({**processor, **video}))


def _write_tokenizer(folder: Path) -> None:
    """The embedded model's words and GLM's special tokens."""
    words = json.loads(WORDS.read_text(encoding="utf-8"))
    looks = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    words["added_tokens"] = [{"id": number, "content": text, **looks} for text, number in TOKENS.items()]
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "Glm4vProcessor",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": TEXT["max_position_embeddings"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


@torch.inference_mode()
def soft_tokens(folder: Path, model: Model, images: Sequence[Image.Image]) -> list[torch.Tensor]:
    """What transformers makes of all pictures at once: [tokens, width] each."""
    seen = Glm4vImageProcessor.from_pretrained(folder)(list(images), return_tensors="pt")
    features = model.model.get_image_features(
        seen["pixel_values"].to(model.dtype), seen["image_grid_thw"], return_dict=True
    )
    return list(features.pooler_output)
