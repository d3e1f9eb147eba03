"""Public vision towers as their configurations say, with random weights, built by transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)
from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
from transformers.models.internvl.modeling_internvl import InternVLVisionModel
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

Kind = Literal["vit", "clip", "siglip", "internvl", "qwen"]
Grid = tuple[int, int]
"""(rows, columns) of cells"""


@dataclass(frozen=True, slots=True)
class Tower:
    """One tower, and the projector of a model that has it."""

    name: str
    kind: Kind
    side: int
    """of the square picture, or of the square cell of pictures of any sizes (Qwen), in pixels"""
    patch: int
    hidden: int
    build: Callable[[], nn.Module]
    """the tower with random weights, fp32"""
    projector: Callable[[], nn.Module] | None = None
    """from hidden states [images, tokens, hidden] without class token"""
    mix: tuple[Grid, ...] = ()
    """the pictures' sizes in cells, taken in turn, where they may be of any (Qwen)"""

    @property
    def pixels(self) -> int:
        """The side without what is too little for a patch."""
        return self.side // self.patch * self.patch

    @property
    def patches(self) -> int:
        """of a picture, or of a cell"""
        return (self.side // self.patch) ** 2

    def grids(self, batch: int) -> list[Grid]:
        """of the first `batch` pictures of the mix"""
        return list(islice(cycle(self.mix), batch))

    def tiles(self, batch: int) -> int:
        """Squares of `side` pixels in so many pictures."""
        return sum(rows * columns for rows, columns in self.grids(batch)) if self.mix else batch


class Shuffle(nn.Module):
    """Four neighbouring patches in one row: [images, patches, hidden] → [images, patches / 4, 4 · hidden]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, patches, hidden = x.shape
        half = round(patches**0.5) // 2
        grid = x.reshape(images, half, 2, half, 2, hidden).transpose(2, 3)
        return grid.reshape(images, half * half, 4 * hidden)


def _build(model: Any, config: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        tower: nn.Module = model._from_config(config, attn_implementation="sdpa")
        return tower.eval().requires_grad_(False)

    return build


def vit(name: str, side: int, patch: int, hidden: int, layers: int, heads: int, mlp: int) -> Tower:
    config = ViTConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp,
        image_size=side,
        patch_size=patch,
    )

    def build() -> nn.Module:
        tower: nn.Module = ViTModel(config, add_pooling_layer=False)
        return tower.eval().requires_grad_(False)

    return Tower(name, "vit", side, patch, hidden, build)


def clip(name: str, side: int, hidden: int, layers: int, heads: int, mlp: int, text: int) -> Tower:
    """With LLaVA-1.5's projector, [hidden] → [text]."""
    config = CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=side,
        patch_size=14,
    )

    def projector() -> nn.Module:
        return nn.Sequential(nn.Linear(hidden, text), nn.GELU(), nn.Linear(text, text))

    return Tower(name, "clip", side, 14, hidden, _build(CLIPVisionModel, config), projector)


def siglip(name: str, side: int, hidden: int, layers: int, heads: int, mlp: int, text: int) -> Tower:
    """With PaliGemma's projector."""
    config = SiglipVisionConfig(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=side,
        patch_size=14,
        vision_use_head=False,
    )
    build = _build(SiglipVisionModel, config)
    return Tower(name, "siglip", side, 14, hidden, build, lambda: nn.Linear(hidden, text))


def internvl(name: str, side: int, hidden: int, layers: int, heads: int, mlp: int, text: int) -> Tower:
    """With InternVL 2.5's projector."""
    config = InternVLVisionConfig(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        attention_bias=True,
        image_size=[side, side],
        patch_size=[14, 14],
    )

    def projector() -> nn.Module:
        linears = nn.Linear(4 * hidden, text), nn.GELU(), nn.Linear(text, text)
        return nn.Sequential(Shuffle(), nn.LayerNorm(4 * hidden), *linears)

    return Tower(name, "internvl", side, 14, hidden, _build(InternVLVisionModel, config), projector)


def qwen(
    name: str, mix: tuple[Grid, ...], hidden: int, layers: int, heads: int, mlp: int, text: int
) -> Tower:
    """Qwen2.5-VL: cells of 28 pixels, windows of 112 but in every eighth layer; its merger belongs to the tower."""
    config = Qwen2_5_VLVisionConfig(
        depth=layers,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_heads=heads,
        out_hidden_size=text,
        fullatt_block_indexes=list(range(7, layers, 8)),
    )
    model = Qwen2_5_VisionTransformerPretrainedModel
    return Tower(name, "qwen", 28, 14, hidden, _build(model, config), mix=mix)


MIXED = ((16, 16), (15, 11), (6, 8), (16, 24), (36, 27), (36, 36), (43, 20), (36, 48))
"""From a thumbnail of 224 × 168 pixels to a photograph of 1344 × 1008, none like another."""
VIT_B = vit("ViT-B/16-224", 224, 16, 768, 12, 12, 3072)
TOWERS = (
    VIT_B,
    clip("CLIP-ViT-L/14-336", 336, 1024, 24, 16, 4096, 4096),
    siglip("SigLIP-so400m/14-384", 384, 1152, 27, 16, 4304, 2048),
    internvl("InternViT-300M/14-448", 448, 1024, 24, 16, 4096, 896),
    qwen("Qwen2.5-VL/14-448", ((16, 16),), 1280, 32, 16, 3420, 3584),
    qwen("Qwen2.5-VL/14-1008", ((36, 36),), 1280, 32, 16, 3420, 3584),
    qwen("Qwen2.5-VL/14-mixed", MIXED, 1280, 32, 16, 3420, 3584),
)

DEMO = internvl("demo/14-112", 112, 128, 6, 4, 512, 192)
"""The embedded model's."""
QWEN_SMALL = qwen("Qwen-small/14-mixed", ((4, 4), (5, 7), (1, 3)), 64, 8, 4, 96, 32)
SMALL = (DEMO, QWEN_SMALL)
"""That take no time, to rehearse with."""
