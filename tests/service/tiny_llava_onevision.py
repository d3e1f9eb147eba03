"""A LLaVA-OneVision that is made in a moment: every parameter random, names as on the hub.

Its tiles have pixels that fill no patch, as in the released checkpoints, and its largest canvases have more patches
than a map may have, so that these are shrunk. transformers and vLLM serve it from its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
)

from tests.service.tiny import (
    LENGTH,
    MEAN,
    STD,
    name_as_the_hub_does,
    randomise,
    token_ids,
    write_json,
    write_tokenizer,
)
from tests.service.tiny_llava import TEMPLATE
from tests.service.tiny_qwen_vl import FIRST_SPECIAL

TILE, PATCH = 60, 14
GRID = TILE // PATCH
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
TOKENS = token_ids(SPECIAL)
NAMED = {"image_token": "<image>", "video_token": "<video>"}
PINPOINTS = [[TILE * rows, TILE * columns] for rows in range(1, 6) for columns in range(1, 6)]
"""(height, width)"""
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
    "model_type": "qwen2",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": LENGTH,
    "vocab_size": FIRST_SPECIAL + len(SPECIAL),
    "bos_token_id": TOKENS["<|im_start|>"],
    "eos_token_id": TOKENS["<|im_end|>"],
    "pad_token_id": TOKENS["<|endoftext|>"],
    "tie_word_embeddings": False,
}


def write_checkpoint(
    folder: Path, *, vision: dict[str, Any] | None = None, **config: Any
) -> LlavaOnevisionForConditionalGeneration:
    """Saves it with its tokenizer, and returns it."""
    given = {
        "vision_config": {**VISION, **(vision or {})},
        "text_config": dict(TEXT),
        "image_token_index": TOKENS["<image>"],
        "video_token_index": TOKENS["<video>"],
        "image_grid_pinpoints": PINPOINTS,
        **config,
    }
    model = LlavaOnevisionForConditionalGeneration(LlavaOnevisionConfig(**given)).eval()
    randomise(model)
    model.save_pretrained(folder)
    name_as_the_hub_does(folder / "model.safetensors")
    side = given["vision_config"]["image_size"]
    images = {
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "size": {"height": side, "width": side},
        "image_grid_pinpoints": given["image_grid_pinpoints"],
    }
    write_json(folder, "preprocessor_config", images)
    write_json(folder, "video_preprocessor_config", images | {"video_processor_type": VIDEO})
    whole = {
        "processor_class": "LlavaOnevisionProcessor",
        "num_image_tokens": (side // given["vision_config"]["patch_size"]) ** 2,
        "vision_feature_select_strategy": "full",
        **NAMED,
    }
    write_json(folder, "processor_config", whole)
    write_tokenizer(
        folder,
        SPECIAL,
        TEMPLATE,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=NAMED,
        **NAMED,
    )
    return model


VIDEO = "LlavaOnevisionVideoProcessor"


@torch.inference_mode()
def soft_tokens(
    folder: Path, model: LlavaOnevisionForConditionalGeneration, images: Sequence[Image.Image]
) -> list[torch.Tensor]:
    """What transformers makes of each picture that is alone in its conversation: [tokens, width]"""
    processor = LlavaOnevisionImageProcessor.from_pretrained(folder)
    tokens = []
    for image in images:
        inputs = processor(images=[image], return_tensors="pt")
        features = model.model.get_image_features(
            inputs["pixel_values"].to(model.dtype),
            inputs["image_sizes"],
            vision_feature_layer=model.config.vision_feature_layer,
            vision_feature_select_strategy=model.config.vision_feature_select_strategy,
            vision_aspect_ratio=model.config.vision_aspect_ratio,
        )
        tokens.append(features.pooler_output[0])
    return tokens
