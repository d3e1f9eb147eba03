"""Blocks one after the other, what one adds to the hidden states and the norm in front of the next in one launch.

For a GPU: whatever stands between two matrix products is a single kernel, and so is everything between two blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from kernels.activation import activate
from kernels.activation.reference import Activation
from kernels.add_norm import NormKind, add_norm
from kernels.backend import Backend
from kernels.blocks.reference import Affine, normalise

Map = Callable[[torch.Tensor], torch.Tensor]
"""[tokens, inputs] → [tokens, outputs]"""


class Residual(Protocol):
    """A block whose attention and MLP are added to the hidden states, each behind a norm."""

    @property
    def norm_before(self) -> Affine: ...
    @property
    def qkv(self) -> Map: ...
    @property
    def out(self) -> Map: ...
    @property
    def norm_after(self) -> Affine: ...
    @property
    def inner(self) -> Map:
        """[tokens, hidden] → [tokens, MLP], the activation included"""
        ...

    @property
    def down(self) -> Map: ...
    @property
    def eps(self) -> tuple[float, float]:
        """of both norms"""
        ...

    @property
    def norm(self) -> NormKind: ...


@torch.inference_mode()
def through(hidden: torch.Tensor, layers: Sequence[tuple[Residual, Map]], backend: Backend) -> None:
    """All layers, in place.

    Args:
        hidden: [tokens, hidden], contiguous.
        layers: each with its attention, [tokens, 3 · hidden] → [tokens, hidden].
        backend: of the kernels.
    """
    if not layers:
        return
    first, _ = layers[0]
    normed = normalise(hidden, first.norm_before, first.eps[0], first.norm)
    for number, (block, attention) in enumerate(layers, 1):
        update = block.out(attention(block.qkv(normed)))
        normed = _added(hidden, update, block.norm_after, block.eps[1], block.norm, backend)
        update = block.down(block.inner(normed))
        if number == len(layers):
            hidden += update
        else:
            following, _ = layers[number]
            before = following.norm_before, following.eps[0], following.norm
            normed = _added(hidden, update, *before, backend)


def _added(
    hidden: torch.Tensor, update: torch.Tensor, norm: Affine, eps: float, kind: NormKind, backend: Backend
) -> torch.Tensor:
    return add_norm(hidden, update, norm.weight, norm.bias, eps, kind, backend=backend)


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A linear layer as torch has it."""

    part: Affine

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.part.weight, self.part.bias)


@dataclass(frozen=True, slots=True, eq=False)
class Activated:
    """A product and its activation; gated, of gate and value side by side."""

    product: Map
    kind: Activation
    gated: bool
    backend: Backend

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        made = self.product(x)
        out = None if self.gated else made
        return activate(made, self.kind, gated=self.gated, backend=self.backend, out=out)
