"""The pieces of a vision transformer that computes each tile by itself, whatever transformers calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Views of a model's own tensors and modules."""

    weight: torch.Tensor
    """Patch projection, [hidden, 3, patch, patch]"""
    bias: torch.Tensor | None
    position: torch.Tensor | None
    """[prefix + patches, hidden], or with a leading axis of one"""
    cls: torch.Tensor | None
    """The class token, [hidden], or with leading axes of one."""
    before: nn.LayerNorm | None
    """Between the embeddings and the first layer (CLIP)."""
    layers: nn.ModuleList
    after: nn.Module
    """What transformers applies to the last layer's output before it calls it `last_hidden_state`."""
    mask: bool = True
    """Whether a layer is called with an attention mask, which is None here."""


class Backbone(Protocol):
    """A module of this folder."""

    def build(self, config: Any) -> nn.Module:
        """The tower of a vision_config, on the device and with the weights that torch's context says."""
        ...

    def layer(self, config: Any) -> nn.Module:
        """One layer of it."""
        ...

    def parts(self, model: Any) -> Parts: ...
