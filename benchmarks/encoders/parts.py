"""How each tower of the benchmark names its parts: as the product's backbones read them, and two that it has not."""

from __future__ import annotations

from typing import Any

from torch import nn

from kernels.towers.towers import Tower
from service.families.backbones import Parts, clip, intern_vit, siglip


def parts_of(tower: Tower, model: Any) -> Parts:
    readers = {
        "vit": _vit,
        "clip": clip.parts,
        "siglip": siglip.parts,
        "internvl": intern_vit.parts,
        "qwen": _qwen,
    }
    return readers[tower.kind](model)


def _vit(model: Any) -> Parts:
    at = model.embeddings
    conv = at.patch_embeddings.projection
    return Parts(
        weight=conv.weight,
        bias=conv.bias,
        position=at.position_embeddings,
        cls=at.cls_token,
        before=None,
        layers=model.layers,
        after=model.layernorm,
    )


def _qwen(model: Any) -> Parts:
    return Parts(
        weight=model.patch_embed.proj.weight,
        bias=None,
        position=None,
        cls=None,
        before=None,
        layers=model.blocks,
        after=nn.Identity(),
    )
