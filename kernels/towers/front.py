"""The front of a public tower, from normalised pixels to its first layer, and its parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from kernels.towers.towers import Tower

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's normalisation, for all of them: it changes no time."""


class Front:
    """Transformers' embeddings in one dtype on one device, and CLIP's LayerNorm behind them."""

    def __init__(self, tower: Tower, device: torch.device, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.tower, self.dtype = tower, dtype
        with device:
            model: Any = cast(tower.build(), dtype)
        self._embeddings = model.embeddings
        (conv,) = (module for module in model.embeddings.modules() if isinstance(module, nn.Conv2d))
        self.weight: torch.Tensor = conv.weight
        self.bias: torch.Tensor | None = conv.bias
        self.position = _named(model.embeddings, "position")
        self.cls = _named(model.embeddings, "cls", "class")
        self.before: nn.LayerNorm | None = getattr(model, "pre_layrnorm", None)

    def parameters(self) -> list[torch.Tensor]:
        return [
            *self._embeddings.parameters(),
            *(self.before.parameters() if self.before is not None else ()),
        ]

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """[images, 3, side, side], normalised → [images, tokens, hidden], by transformers' own modules."""
        tokens: torch.Tensor = self._embeddings(values)
        return tokens if self.before is None else self.before(tokens)


def cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Weights alone, as checkpoints are loaded: the frequencies of rotary positions stay fp32."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)
    return module


def _named(module: nn.Module, *words: str) -> torch.Tensor | None:
    """The parameter with one of the words in its name, if any."""
    found = (value for name, value in module.named_parameters() if any(word in name for word in words))
    return next(found, None)
