"""InternViT (Chen et al. 2023, arXiv:2312.14238) as transformers' InternVLVisionModel: class token, layer scale."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.models.internvl.modeling_internvl import InternVLVisionLayer, InternVLVisionModel

from service.families.backbones.parts import Parts


def build(config: Any) -> nn.Module:
    model: nn.Module = InternVLVisionModel._from_config(config, attn_implementation="sdpa")
    return model


def layer(config: Any) -> nn.Module:
    one: nn.Module = InternVLVisionLayer(config)
    return one


def parts(model: Any) -> Parts:
    at = model.embeddings
    return Parts(
        weight=at.patch_embeddings.projection.weight,
        bias=at.patch_embeddings.projection.bias,
        position=at.position_embeddings,
        cls=at.cls_token,
        before=None,
        layers=model.encoder.layer,
        after=model.layernorm,
        mask=False,
    )
