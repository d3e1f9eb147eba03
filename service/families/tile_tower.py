"""What towers of tiles share: a vision transformer that computes each tile by itself, from uint8 tiles to soft tokens.

The front is `kernels.patch_embed`, for CLIP followed by `kernels.layer_norm`; the body is `kernels.blocks` or
transformers' own modules with SDPA; the back is `kernels.project`. A family says which backbone it has, after which
layers the hidden states are taken, and what its projector is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kernels.blocks import Body, FusedBlocks, KernelBlocks, choose_body, compile_layers, read_layer
from kernels.eight_bit import Precision, quantise_linears
from kernels.layer_norm import layer_norm
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed, patch_embed
from kernels.project import FoldedProjector, project
from kernels.runner import TileShape
from service.checkpoint.tensors import TowerTensors
from service.domain import View
from service.errors import ConfigurationError
from service.families.backbones import Backbone
from service.families.towers import TiledImage, TowerChoice, resolve_body

Blocks = Callable[[torch.Tensor], torch.Tensor]
"""[tiles, tokens, hidden] to the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Trunk:
    """From uint8 tiles to hidden states."""

    front: FoldedPatchEmbed
    before: nn.LayerNorm | None
    segments: Sequence[Blocks]
    """The layers, in pieces that end where hidden states are taken."""
    taken: Sequence[int]
    """The segments whose outputs are taken, side by side in this order."""
    after: nn.Module

    def __call__(self, tiles: torch.Tensor, choice: TowerChoice) -> torch.Tensor:
        """uint8 [tiles, side, side, 3] → [tiles, prefix + patches, hidden · taken]. Pixels beyond the last whole patch
        are not looked at, as by a strided convolution."""
        whole = tiles.shape[1] // self.front.patch_size * self.front.patch_size
        hidden = patch_embed(tiles[:, :whole, :whole], self.front, backend=choice.backend)
        if (norm := self.before) is not None:
            hidden = layer_norm(hidden, norm.weight, norm.bias, norm.eps, backend=choice.backend)
        outputs: list[torch.Tensor] = []
        for blocks in self.segments:
            # blocks may compute in the memory that they are given
            hidden = blocks(hidden.clone() if outputs else hidden)
            outputs.append(hidden)
        if len(self.taken) > 1:
            hidden = torch.cat([outputs[number] for number in self.taken], -1)
        normalised: torch.Tensor = self.after(hidden)
        return normalised


def load_trunk(
    tensors: TowerTensors,
    prefix: str,
    backbone: Backbone,
    config: Any,
    choice: TowerChoice,
    *,
    depths: Sequence[int],
    normalise: bool,
    normalisation: tuple[Sequence[float], Sequence[float]],
) -> Trunk:
    """The trunk of a vision_config, from the tensors under `prefix`; those that it does not need are dropped.

    `depths`: after how many layers hidden states are taken. `normalise`: whether the last norm follows.
    `normalisation`: mean and deviation of each colour. Raises ConfigurationError.
    """
    with torch.device("meta"):
        model: Any = backbone.build(config)
    known = list(model.state_dict())
    names = {module: name for name, module in model.named_modules()}
    layers = list(backbone.parts(model).layers)[: max(depths)]

    def fill(module: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
        tensors.fill(module, f"{prefix}.{names[module]}", device, dtype)

    fill(model.embeddings, torch.device("cpu"), None)  # folded in fp64, from what is stored
    parts = backbone.parts(model)
    needed = [*layers, *([parts.before] if parts.before is not None else [])]
    if normalise and not isinstance(parts.after, nn.Identity):
        needed.append(parts.after)
    for module in needed:
        fill(module, choice.device, choice.dtype)
    for name in known:
        tensors.drop(f"{prefix}.{name}")
    front = fold_patch_embed(
        parts.weight,
        parts.bias,
        *normalisation,
        parts.position,
        parts.cls,
        dtype=choice.dtype,
        device=choice.device,
    )
    ends = sorted(set(depths))
    return Trunk(
        front,
        parts.before,
        [
            blocks_of(
                layers[begin:end],
                mask=parts.mask,
                body=choice.body,
                dtype=choice.dtype,
                precision=choice.precision,
            )
            for begin, end in zip([0, *ends], ends, strict=False)
        ],
        [ends.index(depth) for depth in depths],
        parts.after if normalise else nn.Identity(),
    )


def choose_tile_body(
    backbone: Backbone, config: Any, *, device: torch.device, dtype: torch.dtype, requested: str
) -> Body:
    """Who runs the layers of a vision_config's tower. Raises ConfigurationError."""
    with torch.device("meta"):
        layer = backbone.layer(config)
    return resolve_body(
        layer, read_layer, lambda obstacle: choose_body(device, dtype, requested, obstacle=obstacle)
    )


def blocks_of(
    layers: Iterable[nn.Module],
    *,
    mask: bool,
    body: Body,
    dtype: torch.dtype,
    precision: Precision = "full",
) -> Blocks:
    """The layers one after the other, run by `body`. `mask`: whether they want to be given an attention mask.

    Raises CannotQuantise.
    """
    layers = list(layers)
    if body == "fused" and layers:
        return FusedBlocks([read_layer(layer) for layer in layers], dtype, precision)
    if body == "triton" and layers:
        return KernelBlocks([read_layer(layer) for layer in layers], dtype, precision=precision)
    if precision != "full" and layers:
        quantise_linears(layers, precision)
    callables = [_Unmasked(layer) for layer in layers] if mask else layers
    return compile_layers(callables) if body == "compiled" else nn.Sequential(*callables)


def average(hidden: torch.Tensor, pool: int) -> torch.Tensor:
    """[tiles, side², hidden] → [tiles, (side/pool)², hidden]: the means of pool × pool neighbours."""
    side = isqrt(hidden.shape[1])
    squares = torch.unflatten(hidden, 1, (side // pool, pool, side // pool, pool))
    return squares.mean((2, 4)).flatten(1, 2)


def read_model_config(folder: Path, kind: Any, whose: str) -> Any:
    """config.json as transformers' class `kind` has it; `whose` it should be, for the error. Raises
    ConfigurationError."""
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever transformers' validation makes of the file
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"model: {folder / 'config.json'} is not {whose}: {reason}") from None


class _Unmasked(nn.Module):
    """A layer that wants to be given its attention mask: none."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layer(hidden, None)
        return made


@dataclass(frozen=True, slots=True)
class Neck:
    """What stands between a tower's hidden states and its projector."""

    blocks: Blocks
    """[tiles, tokens, hidden] to [tiles, `tokens`, any]"""
    tokens: int


class ViTTower:
    """Trunk and projector of one checkpoint on one device; satisfies `service.families.towers.TileTower`."""

    def __init__(
        self,
        trunk: Trunk,
        back: FoldedProjector,
        choice: TowerChoice,
        *,
        tile: int,
        neck: Neck | None = None,
        constants: torch.Tensor | None = None,
    ) -> None:
        """`tile`: side of a tile in pixels. `neck`: what makes other hidden states of the trunk's, if anything does.
        `constants`: [constants, width], see `Tower.constants`."""
        self.width = back.width
        self.choice = choice
        self.constants = torch.empty(0, back.width, dtype=choice.dtype) if constants is None else constants
        self._trunk = trunk
        self._back = back
        self._tile = tile
        self._neck = neck
        self._patches = (tile // trunk.front.patch_size) ** 2
        tokens = trunk.front.prefix + self._patches if neck is None else neck.tokens
        self.tile_shape = TileShape(tile, tile, back.merge.rows(tokens - back.skip), back.width, choice.dtype)

    @torch.inference_mode()
    def encode(self, images: Sequence[TiledImage]) -> list[torch.Tensor]:
        """Raises ValueError for tiles that are not uint8 [tiles, side, side, 3] of the checkpoint's side."""
        views = [view for image in images for view in image.tiles]
        tiles = views[0] if len(views) == 1 else torch.cat(views)  # [tiles, side, side, 3]
        if tiles.shape[1:] != (self._tile, self._tile, 3):
            raise ValueError(
                f"tiles are {list(tiles.shape)}; this tower takes {self._tile}×{self._tile} pixels"
            )
        rows = torch.empty(
            len(tiles) * self.tile_shape.rows, self.width, dtype=self.choice.dtype, device=self.choice.device
        )  # [tiles · rows of a tile, width]
        self.forward(tiles.to(self.choice.device), rows)
        return list(torch.split(rows, [self.tile_shape.rows * image.tile_count for image in images]))

    @torch.inference_mode()
    def forward(self, tiles: torch.Tensor, out: torch.Tensor) -> None:
        hidden = self._trunk(tiles, self.choice)  # [tiles, prefix + patches, hidden]
        if self._neck is not None:
            hidden = self._neck.blocks(hidden)
        project(hidden, self._back, backend=self.choice.backend, out=out)

    def bucket(self, views: Sequence[View]) -> Hashable:
        return frozenset((view.tile_width, view.tile_height) for view in views)

    def blank(self, patches: int) -> TiledImage:
        side = self._tile
        tiles = max(1, patches // self._patches)
        view = View(tiles * side, side, side, side)
        pixels = torch.full((tiles, side, side, 3), 128, dtype=torch.uint8)
        return TiledImage([view], [pixels], tiles * self.tile_shape.rows)
