"""EVA's vision transformer (Fang et al. 2022, arXiv:2211.07636) as BLIP-2 has it: class token, one matrix for queries,
keys and values."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import Blip2VisionModel
from transformers.models.blip_2.modeling_blip_2 import Blip2EncoderLayer

from service.families.backbones.parts import Parts


def build(config: Any) -> nn.Module:
    model: nn.Module = Blip2VisionModel._from_config(config, attn_implementation="sdpa")
    return model


def layer(config: Any) -> nn.Module:
    one: nn.Module = Blip2EncoderLayer(config)
    return one


def parts(model: Any) -> Parts:
    at = model.embeddings
    return Parts(
        weight=at.patch_embedding.weight,
        bias=at.patch_embedding.bias,
        position=at.position_embedding,
        cls=at.class_embedding,
        before=None,
        layers=model.encoder.layers,
        after=model.post_layernorm,
        mask=False,
    )
