"""CLIP's vision transformer (Radford et al. 2021, arXiv:2103.00020): class token, LayerNorm before the first layer."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import CLIPVisionModel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from service.families.backbones.parts import Parts


def build(config: Any) -> nn.Module:
    model: nn.Module = CLIPVisionModel._from_config(config, attn_implementation="sdpa")
    return model


def layer(config: Any) -> nn.Module:
    one: nn.Module = CLIPEncoderLayer(config)
    return one


def parts(model: Any) -> Parts:
    at = model.embeddings
    return Parts(
        weight=at.patch_embedding.weight,
        bias=None,
        position=at.position_embedding.weight,
        cls=at.class_embedding,
        before=model.pre_layrnorm,
        layers=model.encoder.layers,
        after=nn.Identity(),  # the last norm is for the pooled class token alone
    )
