"""Embedding layers and tiles for the tests of patch_embed: odd sizes first.

Without a GPU the tests of the fused kernel run in Triton's interpreter, which must be chosen before triton is
imported: test_interpreter.py runs them in a process of their own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed
from kernels.patch_embed.reference import unfused

collect_ignore = []
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore.append("test_fused.py")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Layer:
    """An embedding layer in fp32, at the scale of trained ones."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    position: torch.Tensor | None
    cls: torch.Tensor | None

    def to(self, dtype: torch.dtype) -> Layer:
        tensors = (self.weight, self.bias, self.position, self.cls)
        return Layer(*(None if tensor is None else tensor.to(dtype) for tensor in tensors))  # type: ignore[arg-type]

    def fold(self, dtype: torch.dtype, device: str = "cpu", **options: Any) -> FoldedPatchEmbed:
        arguments = (self.weight, self.bias, MEAN, STD, self.position, self.cls)
        return fold_patch_embed(*arguments, dtype=dtype, device=device, **options)

    def chain(self, tiles: torch.Tensor) -> torch.Tensor:
        """The unfused operations, in the layer's dtype."""
        return unfused(tiles, self.weight, self.bias, MEAN, STD, self.position, self.cls)

    def exact(self, tiles: torch.Tensor) -> torch.Tensor:
        return self.to(torch.float64).chain(tiles)


@dataclass(frozen=True)
class Case:
    tiles: int
    height: int
    width: int
    patch: int
    hidden: int
    cls: bool = True
    position: bool = True
    bias: bool = True

    def __str__(self) -> str:
        parts = [f"{self.tiles}x{self.height}x{self.width}-p{self.patch}-h{self.hidden}"]
        parts += [name for name in ("cls", "position", "bias") if getattr(self, name)]
        return "-".join(parts)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the tokens."""
        return self.tiles, self.cls + self.patches, self.hidden

    @property
    def patches(self) -> int:
        return (self.height // self.patch) * (self.width // self.patch)

    def poisoned(self, dtype: torch.dtype, device: str = "cpu") -> torch.Tensor:
        """An output that shows every element which nobody wrote."""
        return torch.full(self.shape, float("nan"), dtype=dtype, device=device)

    def layer(self) -> Layer:
        random = torch.Generator().manual_seed(self.hidden)

        def draw(scale: float, *size: int) -> torch.Tensor:
            # representable in bf16, as a bf16 checkpoint is
            return (scale * torch.randn(*size, generator=random)).bfloat16().float()

        return Layer(
            weight=draw(0.02, self.hidden, 3, self.patch, self.patch),
            bias=draw(0.1, self.hidden) if self.bias else None,
            position=draw(0.1, 1, self.patches + self.cls, self.hidden) if self.position else None,
            cls=draw(0.5, 1, 1, self.hidden) if self.cls else None,
        )

    def pixels(self) -> torch.Tensor:
        random = torch.Generator().manual_seed(self.tiles)
        size = (self.tiles, self.height, self.width, 3)
        return torch.randint(0, 256, size, dtype=torch.uint8, generator=random)


CASES = (
    Case(1, 28, 42, 14, 96),
    Case(3, 42, 14, 14, 130, cls=False),
    Case(1, 112, 112, 14, 128),
    Case(2, 48, 80, 16, 40, bias=False),
    Case(1, 14, 14, 14, 1),
    Case(2, 32, 64, 32, 72, cls=False, position=False),
    Case(2, 56, 28, 14, 144, position=False),
)


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture
def plain() -> Case:
    """Two by two patches of 14 and a class token, 96 wide."""
    return Case(2, 28, 28, 14, 96)


@pytest.fixture(params=[1, 2, 31, 128, 257])
def many_tiles(request: pytest.FixtureRequest) -> Case:
    """Patches of 2, so that the interpreter is done with them soon."""
    return Case(request.param, 2, 4, 2, 24)
