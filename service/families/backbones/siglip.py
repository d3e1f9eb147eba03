"""SigLIP's vision transformer (Zhai et al. 2023, arXiv:2303.15343): no class token, LayerNorm after the last layer."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer

from service.families.backbones.parts import Parts

_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
)


def config_like(config: Any) -> SiglipVisionConfig:
    """Of a tower that is a SigLIP under another name (Idefics2, Idefics3)."""
    return SiglipVisionConfig(**{name: getattr(config, name) for name in _FIELDS}, vision_use_head=False)


def build(config: Any) -> nn.Module:
    model: nn.Module = SiglipVisionModel._from_config(config, attn_implementation="sdpa")
    return model


def layer(config: Any) -> nn.Module:
    one: nn.Module = SiglipEncoderLayer(config)
    return one


def parts(model: Any) -> Parts:
    at = model.embeddings
    return Parts(
        weight=at.patch_embedding.weight,
        bias=at.patch_embedding.bias,
        position=at.position_embedding.weight,
        cls=None,
        before=None,
        layers=model.encoder.layers,
        after=model.post_layernorm,
    )
