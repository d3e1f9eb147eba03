"""A Gemma 4 that is made in a moment: every parameter random, names as on the hub.

Its two layers attend within a window and over everything, and each reads embeddings of its own, as in E2B and E4B.
transformers and vLLM serve it from its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Gemma4Config, Gemma4ForConditionalGeneration, Gemma4ImageProcessor
from transformers.models.gemma4.modeling_gemma4 import Gemma4RMSNorm

from tests.service.tiny import LENGTH, randomise, speak_up, token_ids, write_json, write_tokenizer
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

PATCH, MERGE, BUDGET = 4, 3, 140
"""Pixels of a patch, patches of a cell, soft tokens of an image at most."""
SPECIAL = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<|turn>",
    "<turn|>",
    "<|image>",
    "<image|>",
    "<|image|>",
    "<|audio>",
    "<audio|>",
    "<|audio|>",
    "<|video|>",
)
TOKENS = token_ids(SPECIAL)
NAMED = {
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "image_token": "<|image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "audio_token": "<|audio|>",
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "patch_size": PATCH,
    "pooling_kernel_size": MERGE,
    "position_embedding_size": 1120 * MERGE,
    "default_output_length": BUDGET,
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "global_head_dim": 32,
    "hidden_size_per_layer_input": 8,
    "max_position_embeddings": LENGTH,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "vocab_size_per_layer_input": FIRST_SPECIAL + len(SPECIAL),
    "bos_token_id": TOKENS["<bos>"],
    "eos_token_id": TOKENS["<eos>"],
    # as in the released checkpoints: in an image's place, the layers' own embeddings are transformers' of the padding,
    # and vLLM's of token 0
    "pad_token_id": 0,
}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}<|image|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<turn|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)


def write_checkpoint(
    folder: Path,
    *,
    vision: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    processor: dict[str, Any] | None = None,
    **config: Any,
) -> Gemma4ForConditionalGeneration:
    """Saves it with its tokenizer, and returns it."""
    given = {
        "vision_config": {**VISION, **(vision or {})},
        "text_config": {**TEXT, **(text or {})},
        "audio_config": None,
        "boi_token_id": TOKENS["<|image>"],
        "eoi_token_id": TOKENS["<image|>"],
        "image_token_id": TOKENS["<|image|>"],
        "boa_token_id": TOKENS["<|audio>"],
        "eoa_token_index": TOKENS["<audio|>"],
        "audio_token_id": TOKENS["<|audio|>"],
        "video_token_id": TOKENS["<|video|>"],
        **config,
    }
    model = Gemma4ForConditionalGeneration(Gemma4Config(**given)).eval()
    _randomise(model)
    model.save_pretrained(folder)
    images = {
        "image_processor_type": "Gemma4ImageProcessor",
        "do_normalize": False,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "max_soft_tokens": BUDGET,
        "patch_size": given["vision_config"]["patch_size"],
        "pooling_kernel_size": given["vision_config"]["pooling_kernel_size"],
        "resample": 3,
        **(processor or {}),
    }
    sounds = {"feature_extractor_type": "Gemma4AudioFeatureExtractor"}
    videos = {"video_processor_type": "Gemma4VideoProcessor"}
    whole = {
        "processor_class": "Gemma4Processor",
        "image_seq_length": images["max_soft_tokens"],
        "image_processor": images,
        "feature_extractor": sounds,
        "video_processor": videos,
    }
    write_json(folder, "processor_config", whole)
    write_tokenizer(
        folder,
        SPECIAL,
        TEMPLATE,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens=NAMED,
        **NAMED,
    )
    return model


@torch.no_grad()
def _randomise(model: Gemma4ForConditionalGeneration) -> None:
    randomise(model)
    for module in model.modules():
        if isinstance(module, Gemma4RMSNorm) and module.with_scale:
            module.weight.add_(1.0)  # not one more than its weight, as in other Gemmas
    for name, buffer in model.named_buffers():
        if name.endswith(("std_bias", "std_scale")):
            buffer.copy_(torch.randn_like(buffer) * 0.5 + (1.0 if name.endswith("scale") else 0.0))
        if name.endswith(("_min", "_max")) and "vision_tower" in name:
            buffer.fill_(-1.0 if name.endswith("_min") else 1.0)  # clips some values of most layers
    text = model.model.language_model
    speak_up(text.embed_tokens.weight, text.norm.weight)
    # transformers reads a placeholder that the model itself writes as padding and vLLM as itself: it must write none
    for word in ("<|image|>", "<|audio|>", "<|video|>"):
        text.embed_tokens.weight[TOKENS[word]] = 0.0


@torch.inference_mode()
def soft_tokens(
    folder: Path, model: Gemma4ForConditionalGeneration, images: Sequence[Image.Image], **options: Any
) -> list[torch.Tensor]:
    """What transformers makes of all pictures at once: [tokens, width] each."""
    seen = Gemma4ImageProcessor.from_pretrained(folder)(images=list(images), return_tensors="pt", **options)
    features = model.model.get_image_features(
        seen["pixel_values"].to(model.dtype), image_position_ids=seen["image_position_ids"]
    )
    return list(features.pooler_output)
