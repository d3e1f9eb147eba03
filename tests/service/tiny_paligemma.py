"""A PaliGemma that is made in a moment: every parameter random, names as on the hub.

It attends causally, as vLLM does on a CPU. transformers and vLLM serve it from its folder; its chat template, of which
the released checkpoints have none, writes the text alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, SiglipImageProcessor

from tests.service.tiny import (
    LENGTH,
    MEAN,
    STD,
    name_as_the_hub_does,
    randomise,
    speak_up,
    token_ids,
    write_json,
    write_tokenizer,
)
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

TILE, PATCH = 56, 14
SOFT = (TILE // PATCH) ** 2
SPECIAL = ("<pad>", "<eos>", "<bos>", "<image>", "\n")
TOKENS = token_ids(SPECIAL)
PLACES = 1024 + 128
"""Words for places and segments, which transformers' processor adds to any tokenizer."""
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
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": LENGTH,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL) + PLACES,
    "bos_token_id": TOKENS["<bos>"],
    "eos_token_id": TOKENS["<eos>"],
    "pad_token_id": TOKENS["<pad>"],
    "use_bidirectional_attention": False,
}
SECOND = {
    "model_type": "gemma2",
    "query_pre_attn_scalar": 32,
    "sliding_window": 64,
    "final_logit_softcapping": None,
}
"""What PaliGemma 2 has otherwise. vLLM puts Gemma 2's cap on the logits, transformers' PaliGemma does not, which
changes log probabilities and no greedy token."""
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] if 'text' in content %}{{ content['text'] }}{% endfor %}{% endif %}"
    "{% endfor %}"
)


def write_checkpoint(
    folder: Path, *, second: bool = False, template: str = TEMPLATE, vision: dict[str, Any] | None = None
) -> PaliGemmaForConditionalGeneration:
    """Saves a PaliGemma, or a PaliGemma 2 (`second`), with its tokenizer, and returns it."""
    config = PaliGemmaConfig(
        vision_config={**VISION, **(vision or {})},
        text_config={"model_type": "gemma", **TEXT, **(SECOND if second else {})},
        image_token_index=TOKENS["<image>"],
        projection_dim=TEXT["hidden_size"],
        hidden_size=TEXT["hidden_size"],
        **{name: TEXT[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    model = PaliGemmaForConditionalGeneration(config).eval()
    randomise(model)
    text = model.model.language_model
    speak_up(text.embed_tokens.weight, text.norm.weight)
    model.save_pretrained(folder)
    name_as_the_hub_does(folder / "model.safetensors")
    side = config.vision_config.image_size
    images = {
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "PaliGemmaProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 3,
        "size": {"height": side, "width": side},
        "image_seq_length": (side // config.vision_config.patch_size) ** 2,
    }
    write_json(folder, "preprocessor_config", images)
    write_tokenizer(
        folder,
        SPECIAL,
        template,
        plain=("\n",),
        add_bos_token=False,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        image_token="<image>",
    )
    return model


@torch.inference_mode()
def soft_tokens(
    folder: Path, model: PaliGemmaForConditionalGeneration, images: Sequence[Image.Image]
) -> list[torch.Tensor]:
    """What transformers makes of each picture: [tokens, width]"""
    seen = SiglipImageProcessor.from_pretrained(folder)(images=list(images), return_tensors="pt")
    features = model.model.get_image_features(seen["pixel_values"].to(model.dtype))
    return list(features.pooler_output)
