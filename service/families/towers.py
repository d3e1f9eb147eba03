"""What every family's vision tower offers. Imports torch, which a gateway lacks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from kernels.backend import Backend, BackendUnavailable
from kernels.blocks import Body, UnsupportedLayer
from kernels.eight_bit import Precision, quantise_linears
from kernels.runner import TileShape
from service.domain import View
from service.errors import ConfigurationError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, eq=False)
class TiledImage:
    """An image's pixels, cut into tiles, and how many rows a tower makes of them."""

    views: Sequence[View]
    tiles: Sequence[torch.Tensor]
    """Per view uint8 [tiles, tile_height, tile_width, 3], row by row."""
    rows: int
    """Of the tower's output, before any token map."""

    @property
    def tile_count(self) -> int:
        return sum(map(len, self.tiles))


@dataclass(frozen=True, slots=True)
class TowerChoice:
    """Where and how a tower computes."""

    device: torch.device
    dtype: torch.dtype
    backend: Backend
    """The kernels' implementation that runs."""
    body: Body
    """Who runs the transformer blocks."""
    precision: Precision = "full"
    """Of the linear layers in the blocks; whatever else there is computes in `dtype`."""
    one_call: bool = False
    """Whether attention among images of different sizes is one call a layer."""

    @property
    def ours(self) -> bool:
        """Whether the blocks are Patchbay's, with copies of the weights."""
        return self.body in ("fused", "triton")


class Tower(Protocol):
    """Vision encoder and projector of a checkpoint: pixels to soft tokens. Used by one thread."""

    @property
    def width(self) -> int:
        """Numbers in a soft-token row."""
        ...

    @property
    def choice(self) -> TowerChoice: ...

    @property
    def constants(self) -> torch.Tensor:
        """[constants, width] on the CPU: rows that no image changes, such as a learned newline; often none."""
        ...

    def encode(self, images: Sequence[TiledImage]) -> list[torch.Tensor]:
        """All tiles of all images in one packed forward.

        Returns per image [rows, width] of the chosen number format on the chosen device, contiguous, in the order of
        its views and tiles.
        """
        ...

    def bucket(self, views: Sequence[View]) -> Hashable:
        """Images whose views have equal buckets can share one `encode`."""
        ...

    def blank(self, patches: int) -> TiledImage:
        """A grey image that costs as near to `patches` as tiles allow without passing it, one at least."""
        ...


@runtime_checkable
class TileTower(Tower, Protocol):
    """A tower that computes each tile by itself, so that its batches can be staged in chunks and captured.

    Of the families whose facts say `independent_tiles`.
    """

    @property
    def tile_shape(self) -> TileShape: ...

    def forward(self, tiles: torch.Tensor, out: torch.Tensor) -> None:
        """uint8 tiles on the device into their rows [tiles · rows of a tile, width], each tile by itself.

        Asks the host for nothing, so that it can be captured.
        """
        ...


class TowerLoader(Protocol):
    """A family's module `tower`."""

    def choose_body(self, folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
        """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
        ...

    def load(self, folder: Path, choice: TowerChoice) -> Tower:
        """Reads the tensors of tower and projector.

        Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
        """
        ...


def resolve_body(
    layer: torch.nn.Module,
    read: Callable[[torch.nn.Module], object],
    choose: Callable[[str | None], Body],
) -> Body:
    """Who runs a tower of layers like `layer`, which may lie on the meta device.

    `read` raises UnsupportedLayer where we cannot; `choose` is told that obstacle, or None, and raises
    BackendUnavailable or ValueError. Raises ConfigurationError.
    """
    obstacle = None
    try:
        read(layer)
    except UnsupportedLayer as error:
        obstacle = f"the tower's layer is another: {error}"
    try:
        return choose(obstacle)
    except (BackendUnavailable, ValueError) as error:
        raise ConfigurationError(f"encoder_body: {error}") from None


def in_precision(layers: Iterable[torch.nn.Module], choice: TowerChoice) -> None:
    """Makes the linear layers of transformers' own blocks, which are loaded, compute in the chosen precision.

    Raises CannotQuantise.
    """
    if choice.precision != "full":
        quantise_linears(layers, choice.precision)
