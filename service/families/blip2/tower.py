"""BLIP-2's vision encoder: uint8 tiles to soft tokens, as transformers' `get_image_features` does.

EVA's vision transformer, whose hidden states, class token included, a Q-Former reads with its learned queries, in front
of one matrix, which is `kernels.project`. Paper: Li et al. 2023, arXiv:2301.12597.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Blip2Config
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel

from kernels.blocks import Body
from kernels.project import Linear, fold_projector
from service.checkpoint.files import read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.families.backbones import eva
from service.families.blip2.names import own_name
from service.families.tile_tower import Neck, ViTTower, choose_tile_body, load_trunk, read_model_config
from service.families.towers import TowerChoice


class QFormer(nn.Module):
    """Learned queries and the Q-Former that reads an image with them, both in float32 as in transformers."""

    def __init__(self, queries: torch.Tensor, model: nn.Module, dtype: torch.dtype) -> None:
        """`queries`: [1, queries, hidden]; `dtype` of what is returned."""
        super().__init__()
        self.queries = queries
        self.model = model
        self.dtype = dtype

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[tiles, tokens, hidden of the tower] → [tiles, queries, hidden]"""
        queries = self.queries.expand(len(hidden), -1, -1)
        read: torch.Tensor = self.model(query_embeds=queries, encoder_hidden_states=hidden)[0]
        return read.to(self.dtype)


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    return choose_tile_body(
        eva, _config(folder).vision_config, device=device, dtype=dtype, requested=requested
    )


def load(folder: Path, choice: TowerChoice) -> ViTTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower, Q-Former and projector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = _config(folder)
    vision, width = config.vision_config, config.text_config.hidden_size
    tensors = TowerTensors(folder, own_name)
    trunk = load_trunk(
        tensors,
        "vision_model",
        eva,
        vision,
        choice,
        depths=[vision.num_hidden_layers],
        normalise=True,
        normalisation=read_normalisation(folder),
    )
    qformer = _qformer(tensors, config, choice)
    linear = Linear(
        tensors.take("language_projection.weight", (width, config.qformer_config.hidden_size)),
        tensors.take("language_projection.bias", (width,)),
    )
    tensors.refuse_rest()
    back = fold_projector(
        (linear,), norm=None, dtype=choice.dtype, device=choice.device, backend=choice.backend
    )
    return ViTTower(trunk, back, choice, tile=vision.image_size, neck=Neck(qformer, config.num_query_tokens))


def _qformer(tensors: TowerTensors, config: Any, choice: TowerChoice) -> QFormer:
    with torch.device("meta"):
        model = Blip2QFormerModel._from_config(config.qformer_config, attn_implementation="sdpa")
    tensors.fill(model, "qformer", choice.device, torch.float32)
    shape = (1, config.num_query_tokens, config.qformer_config.hidden_size)
    queries = tensors.take("query_tokens", shape).to(choice.device, torch.float32)
    return QFormer(queries, model.eval(), choice.dtype)


def _config(folder: Path) -> Any:
    return read_model_config(folder, Blip2Config, "BLIP-2's")
