"""A checkpoint in InternVL's layout that is made in a moment: every parameter random, so that none can be left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration

from service.domain import View
from service.families.towers import TiledImage

SIDE = 56
MEAN = [0.48, 0.46, 0.41]
STD = [0.27, 0.26, 0.28]
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": [SIDE, SIDE],
    "patch_size": [14, 14],
}
TEXT = {
    "model_type": "qwen2",
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}


def write_checkpoint(
    folder: Path, *, vision: dict[str, Any] | None = None, max_shard_size: str = "1GB", **config: Any
) -> InternVLForConditionalGeneration:
    """Saves a checkpoint of 16 patches and, at the usual downsample ratio, 4 soft tokens a tile; returns its model."""
    torch.manual_seed(7)
    model = InternVLForConditionalGeneration(
        InternVLConfig(vision_config={**VISION, **(vision or {})}, text_config=dict(TEXT), **config)
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    processor = {"image_mean": MEAN, "image_std": STD, "size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


def random_tiles(count: int, side: int = SIDE, *, seed: int = 0) -> torch.Tensor:
    """uint8 [count, side, side, 3]"""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)


def tiled(*views: torch.Tensor) -> TiledImage:
    """An image of these tiles."""
    side = views[0].shape[1]
    tiles = sum(map(len, views))
    return TiledImage([View(len(v) * side, side, side, side) for v in views], views, 4 * tiles)


@torch.inference_mode()
def soft_tokens(model: InternVLForConditionalGeneration, tiles: torch.Tensor) -> torch.Tensor:
    """What transformers makes of the tiles: [tiles · rows, width]"""
    pixels = tiles.permute(0, 3, 1, 2) / 255  # [tiles, 3, side, side]
    pixels = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    features = model.model.get_image_features(pixel_values=pixels.to(model.dtype), return_dict=True)
    rows: torch.Tensor = features.pooler_output.flatten(0, 1)
    return rows
