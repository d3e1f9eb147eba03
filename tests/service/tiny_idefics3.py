"""An Idefics3 and a SmolVLM that are made in a moment: every parameter random, names as on the hub.

transformers and vLLM serve them from their folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
)
from transformers.models.smolvlm import processing_smolvlm

from tests.service.tiny import (
    LENGTH,
    MEAN,
    STD,
    randomise,
    token_ids,
    write_json,
    write_tokenizer,
)
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

TILE, PATCH, SCALE, MOST = 56, 14, 2, 3
SOFT = (TILE // PATCH // SCALE) ** 2
WORDS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
    *WORDS,
    "\n\n",
)
TOKENS = token_ids(SPECIAL)
NAMED = {
    "fake_image_token": "<fake_token_around_image>",
    "image_token": "<image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
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
    "bos_token_id": TOKENS["<|im_start|>"],
    "eos_token_id": TOKENS["<end_of_utterance>"],
    "pad_token_id": TOKENS["<|endoftext|>"],
}
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ['image', 'image_url'] %}<image>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_utterance>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
# without the package of that name SmolVLM's processor does not load, and only for videos would it use it
processing_smolvlm.num2words = processing_smolvlm.num2words or str
Kind = Literal["idefics3", "smolvlm"]
Model = Idefics3ForConditionalGeneration | SmolVLMForConditionalGeneration


def write_checkpoint(
    folder: Path,
    kind: Kind = "idefics3",
    *,
    vision: dict[str, Any] | None = None,
    processor: dict[str, Any] | None = None,
    doubled: bool = True,
    **config: Any,
) -> Model:
    """Saves it with its tokenizer, which has a token for two newlines if `doubled`, and returns it."""
    given = {
        "vision_config": {**VISION, **(vision or {})},
        "text_config": dict(TEXT),
        "image_token_id": TOKENS["<image>"],
        "pad_token_id": TOKENS["<|endoftext|>"],
        "scale_factor": SCALE,
        **config,
    }
    model: Model = (
        Idefics3ForConditionalGeneration(Idefics3Config(**given))
        if kind == "idefics3"
        else SmolVLMForConditionalGeneration(SmolVLMConfig(**given))
    ).eval()
    randomise(model)
    model.save_pretrained(folder)
    name = "Idefics3" if kind == "idefics3" else "SmolVLM"
    side = given["vision_config"]["image_size"]
    images = {
        "image_processor_type": f"{name}ImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 1,
        "size": {"longest_edge": MOST * side},
        "max_image_size": {"longest_edge": side},
        "do_image_splitting": True,
        "do_pad": True,
        **(processor or {}),
    }
    write_json(folder, "preprocessor_config", images)
    if kind == "smolvlm":
        videos = {"video_processor_type": "SmolVLMVideoProcessor"}
        write_json(folder, "video_preprocessor_config", videos)
    grid = side // given["vision_config"]["patch_size"]
    tokens = (grid // given["scale_factor"]) ** 2
    write_json(folder, "processor_config", {"processor_class": f"{name}Processor", "image_seq_len": tokens})
    write_tokenizer(
        folder,
        SPECIAL if doubled else SPECIAL[:-1],
        TEMPLATE,
        plain=("\n\n",),
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|endoftext|>",
        extra_special_tokens=NAMED,
        **NAMED,
    )
    return model


@torch.inference_mode()
def soft_tokens(folder: Path, model: Model, images: Sequence[Image.Image]) -> list[torch.Tensor]:
    """What transformers makes of each picture: [tokens, width]"""
    kind = (
        Idefics3ImageProcessor
        if isinstance(model, Idefics3ForConditionalGeneration)
        else SmolVLMImageProcessor
    )
    processor = kind.from_pretrained(folder)
    made = []
    for image in images:
        seen = processor(images=[[image]], return_tensors="pt")
        features = model.model.get_image_features(
            pixel_values=seen["pixel_values"].to(model.dtype),
            pixel_attention_mask=seen["pixel_attention_mask"],
        )
        made.append(features.pooler_output.flatten(0, 1))
    return made
