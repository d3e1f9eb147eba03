"""Projectors and hidden states for the tests of project: odd sizes first.

Without a GPU the tests of the fused kernel run in Triton's interpreter, which must be chosen before triton is
imported: test_interpreter.py runs them in a process of their own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from kernels.project import FoldedProjector, Linear, Merge, Norm, fold_projector
from kernels.project.reference import unfused

collect_ignore = []
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore.append("test_fused.py")


@dataclass(frozen=True)
class Layer:
    """A projector in fp32, at the scale of trained ones."""

    linears: tuple[Linear, ...]
    activation: str
    norm: Norm | None
    merge: Merge
    skip: int

    def to(self, dtype: torch.dtype) -> Layer:
        def cast(tensor: torch.Tensor | None) -> Any:
            return None if tensor is None else tensor.to(dtype)

        norm = self.norm
        if norm is not None:
            norm = Norm(norm.kind, norm.per, cast(norm.weight), cast(norm.bias), norm.eps)
        linears = tuple(Linear(cast(one.weight), cast(one.bias)) for one in self.linears)
        return Layer(linears, self.activation, norm, self.merge, self.skip)

    def fold(self, dtype: torch.dtype, backend: Any, device: str = "cpu", **options: Any) -> FoldedProjector:
        options = {"activation": self.activation, "norm": self.norm, "merge": self.merge, **options}
        return fold_projector(
            self.linears, skip=self.skip, dtype=dtype, device=device, backend=backend, **options
        )

    def chain(self, hidden: torch.Tensor) -> torch.Tensor:
        """The unfused operations, in the layer's dtype."""
        return unfused(hidden, self.linears, self.activation, self.norm, self.merge, self.skip)

    def exact(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.to(torch.float64).chain(hidden.double())


@dataclass(frozen=True)
class Case:
    tiles: int
    patches: int
    hidden: int
    widths: tuple[int, ...]
    merge: Merge = field(default_factory=Merge)
    skip: int = 0
    norm: tuple[Any, Any] | None = None
    activation: str = "gelu"
    bias: bool = True

    def __str__(self) -> str:
        widths = "-".join(map(str, self.widths))
        parts = [f"{self.tiles}x{self.patches}x{self.hidden}-to-{widths}"]
        if self.merge.factor > 1:
            parts.append(f"{self.merge.order}{self.merge.factor}")
        if self.norm is not None:
            parts.append(" per ".join(self.norm))
        return "-".join([*parts, self.activation, f"skip{self.skip}"])

    @property
    def rows(self) -> int:
        return self.tiles * self.patches // self.merge.parts

    @property
    def shape(self) -> tuple[int, int]:
        """Of the rows."""
        return self.rows, self.widths[-1]

    def poisoned(self, dtype: torch.dtype, device: str = "cpu") -> torch.Tensor:
        """An output that shows every element which nobody wrote."""
        return torch.full(self.shape, float("nan"), dtype=dtype, device=device)

    def layer(self) -> Layer:
        random = torch.Generator().manual_seed(self.hidden)

        def draw(*size: int, scale: float) -> torch.Tensor:
            # representable in bf16, as a bf16 checkpoint is
            return (scale * torch.randn(*size, generator=random)).bfloat16().float()

        wide = (self.hidden * self.merge.parts, *self.widths)
        linears = tuple(
            Linear(draw(out, n, scale=n**-0.5), draw(out, scale=0.1) if self.bias else None)
            for n, out in zip(wide, wide[1:], strict=False)
        )
        norm = None
        if self.norm is not None:
            kind, per = self.norm
            size = wide[0] if per == "row" else self.hidden
            beta = draw(size, scale=0.1) if kind == "layer" else None
            norm = Norm(kind, per, (1 + draw(size, scale=0.2)).bfloat16().float(), beta, 1e-6)
        return Layer(linears, self.activation, norm, self.merge, self.skip)

    def states(self) -> torch.Tensor:
        """Hidden states in fp32, representable in bf16, off the centre and of another size in every token."""
        random = torch.Generator().manual_seed(self.tiles)
        size = (self.tiles, self.skip + self.patches, self.hidden)
        scale = 0.5 + torch.rand(*size[:2], 1, generator=random)
        return (scale * (torch.randn(*size, generator=random) + 0.3)).bfloat16().float()


SQUARE, GIVEN = Merge(2), Merge(2, "given")
CASES = (
    Case(1, 7, 13, (5,), skip=1),
    Case(3, 16, 36, (33, 17), SQUARE, skip=1, norm=("layer", "row")),
    Case(2, 36, 64, (40,), Merge(3), skip=5, norm=("layer", "patch"), bias=False),
    Case(1, 76, 70, (64, 37), GIVEN, norm=("rms", "patch"), activation="silu"),
    Case(2, 8, 64, (1, 3), GIVEN, norm=("rms", "row"), activation="quick_gelu"),
    Case(5, 9, 128, (96, 64), activation="gelu_pytorch_tanh"),
    Case(1, 1, 1, (1, 1), norm=None, activation="relu"),
)


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture
def plain() -> Case:
    """InternVL's way out in small: four rows from a class token and a grid of 4 × 4."""
    return Case(2, 16, 32, (48, 24), SQUARE, skip=1, norm=("layer", "row"))


@pytest.fixture(params=[1, 2, 31, 128, 257])
def many(request: pytest.FixtureRequest) -> Case:
    """Tiles of one row."""
    return Case(request.param, 4, 8, (9, 6), SQUARE, skip=1, norm=("layer", "row"))


LARGE = (
    Case(8, 64, 256, (256, 128), SQUARE, skip=1, norm=("layer", "row")),
    Case(1, 512, 128, (512, 96), GIVEN, norm=("rms", "patch")),
    Case(2, 144, 192, (256, 256), skip=1),
    Case(4, 144, 192, (160,), skip=1),
)
"""Enough numbers for a statement on errors."""


@pytest.fixture(params=LARGE, ids=str)
def large(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen
