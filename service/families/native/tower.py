"""What towers of native resolution share: cells of images of any sizes to soft tokens, in one packed forward.

The front is `kernels.patch_embed`: cells put one below the other are a picture of a cell's width, whose patches line by
line are in the tower's own order. A learned table of positions may be added. The body is `kernels.varlen` or
transformers' own modules, the back is `kernels.project`: a norm, a cell's patches in one row, an MLP, each row in its
image's place. A family says in a `Spec` which modules of transformers these are and how its tensors are named.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from kernels.backend import Backend
from kernels.blocks import Body
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed, patch_embed
from kernels.project import (
    FoldedProjector,
    Linear,
    Merge,
    Norm,
    ScatterIndex,
    fold_projector,
    project,
)
from kernels.transfer import send, send_joined
from kernels.varlen import Grid, VarlenBlocks, choose_body, choose_way, read_layer, resample
from service.checkpoint.files import read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.domain import View
from service.errors import ConfigurationError
from service.families.native.names import own_name
from service.families.native.steps import Step, SteppedLayers, by_levels, straight
from service.families.towers import TiledImage, TowerChoice, in_precision, resolve_body

_MERGER_EPS = 1e-6
"""As transformers' mergers have it; no configuration says it."""


class PreparedBatch(Protocol):
    """Blocks and merger, prepared for the images of one forward."""

    @property
    def order(self) -> torch.Tensor:
        """int64 [cells] on the device: the order in which the cells are to be embedded."""
        ...

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[patches, hidden], cells in `order`, to [cells, width], in the images' own order; may change `hidden`."""
        ...


class Layers(Protocol):
    """The transformer blocks and the merger: all that follows the patch embedding."""

    def prepare(self, grids: Sequence[Grid]) -> PreparedBatch:
        """For one forward of images of these grids."""
        ...


class NativeTower:
    """The tower and merger of one checkpoint on one device; satisfies `service.families.towers.Tower`."""

    def __init__(
        self,
        front: FoldedPatchEmbed,
        layers: Layers,
        choice: TowerChoice,
        *,
        width: int,
        merge: int,
    ) -> None:
        self.width = width
        self.choice = choice
        self.constants = torch.empty(0, width, dtype=choice.dtype)
        self._front = front
        self._layers = layers
        self._merge = merge
        self._cell = merge * front.patch_size

    @torch.inference_mode()
    def encode(self, images: Sequence[TiledImage]) -> list[torch.Tensor]:
        """Raises ValueError for an image that is not one view of cells of the checkpoint's size."""
        batch = self._layers.prepare([self._grid(image) for image in images])
        cells = send_joined([image.tiles[0] for image in images], self.choice.device)[batch.order]
        # one below the other: [1, cells · side, side, 3], whose patches line by line are cell by cell
        tall = cells.view(1, -1, self._cell, 3)
        rows = batch.forward(patch_embed(tall, self._front, backend=self.choice.backend).squeeze(0))
        return list(torch.split(rows, [image.tile_count for image in images]))

    def bucket(self, views: Sequence[View]) -> Hashable:
        """Any images can share a forward."""
        return None

    def blank(self, patches: int) -> TiledImage:
        cells = max(1, patches // self._merge**2)
        rows = isqrt(cells)
        columns, side = cells // rows, self._cell
        view = View(columns * side, rows * side, side, side)
        pixels = torch.full((view.tiles, side, side, 3), 128, dtype=torch.uint8)
        return TiledImage([view], [pixels], view.tiles)

    def _grid(self, image: TiledImage) -> Grid:
        side = self._cell
        view = image.views[0]
        if len(image.tiles) != 1 or image.tiles[0].shape != (view.tiles, side, side, 3):
            raise ValueError(
                f"tiles are {[list(tiles.shape) for tiles in image.tiles]}; this tower takes one view of "
                f"{view.tiles} cells of {side}×{side} pixels"
            )
        return Grid(view.rows, view.columns)


@dataclass(frozen=True, slots=True)
class Merger:
    """A merger's modules in the tower: a norm, Linear, GELU, Linear, by their names in it."""

    module: str
    norm: str
    linears: tuple[str, str]
    kind: Literal["rms", "layer"]
    per: Literal["row", "patch"] = "patch"
    """What is normalised: each patch, or a cell's patches together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A tower of one checkpoint."""

    model: Any
    """Transformers' class of the tower."""
    block: Any
    """Transformers' class of its blocks."""
    config: Any
    """The vision_config."""
    hidden: int
    """Width inside the tower."""
    width: int
    """Of what a merger makes of a cell: a soft token, or one level of it."""
    merger: Merger
    bias: bool = False
    """Whether the patch embedding has one."""
    positions: int = 0
    """Places in the learned table of positions, `pos_embed`; 0 without one."""
    window: int | None = None
    """Cells on a side of a window; None where all layers see the whole image."""
    whole: Collection[int] | None = None
    """The numbers of the layers that see the whole image; None: all."""
    levels: Mapping[int, Merger] = field(default_factory=dict)
    """DeepStack: after which layers, in ascending order, which merger makes more of each soft token."""


def read_config(folder: Path, kind: Any, name: str) -> Any:
    """config.json as transformers' class `kind` has it; `name` is the family's. Raises ConfigurationError."""
    try:
        config = kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever transformers' validation makes of the file
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"model: {folder / 'config.json'} is not {name}'s: {reason}") from None
    if (channels := config.vision_config.in_channels) != 3:
        raise ConfigurationError(f"model: {folder / 'config.json'} has in_channels {channels}; needed are 3")
    return config


def must_divide_heads(folder: Path, hidden: str, config: Any) -> None:
    """Rotary positions in two dimensions turn pairs for the row and pairs for the column. Raises ConfigurationError."""
    width = getattr(config, hidden)
    if width % (4 * config.num_heads):
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has {hidden} {width} and num_heads {config.num_heads}; each head needs a "
            "multiple of four"
        )


def must_fit_language_model(folder: Path, name: str, config: Any) -> None:
    """`name` is the field of vision_config that says how wide a soft token is. Raises ConfigurationError."""
    width, expected = getattr(config.vision_config, name), config.text_config.hidden_size
    if width != expected:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has {name} {width} and the language model's hidden_size is {expected}"
        )


def choose_native_body(spec: Spec, device: torch.device, requested: str) -> Body:
    """Who runs the blocks of a tower. Raises ConfigurationError."""
    with torch.device("meta"):
        layer = spec.block(spec.config)
    return choose_packed_body(layer, device, requested)


def choose_packed_body(layer: nn.Module, device: torch.device, requested: str) -> Body:
    """Who runs a tower of layers like `layer`, which may lie on the meta device. Raises ConfigurationError."""
    return resolve_body(
        layer, read_layer, lambda obstacle: choose_body(requested, device=device, obstacle=obstacle)
    )


def load_native(folder: Path, choice: TowerChoice, spec: Spec) -> NativeTower:
    """Reads the image processor's mean and std, and the tensors of tower and merger.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    tensors = TowerTensors(folder, own_name)
    front = _front(tensors, spec, folder, choice)
    with torch.device("meta"):
        model = spec.model._from_config(spec.config, attn_implementation="sdpa")
    # its frequencies are computed, not loaded, and on the meta device they were not
    model.rotary_pos_emb = type(model.rotary_pos_emb)(spec.config)
    model.patch_embed = nn.Identity()
    # ours are copies: the device need not hold both
    tensors.fill(model.blocks, "blocks", torch.device("cpu") if choice.ours else choice.device, choice.dtype)
    layers: Layers
    if choice.ours:
        layers = _fused_layers(tensors, model, spec, choice)
    else:
        in_precision(model.blocks, choice)
        mergers = [spec.merger, *spec.levels.values()]
        parts = [*(merger.module for merger in mergers), *(["pos_embed"] if spec.positions else [])]
        for part in parts:
            tensors.fill(model.get_submodule(part), part, choice.device, choice.dtype)
        layers = _ModuleLayers(model.to(choice.device).eval())
    tensors.refuse_rest()
    width = spec.width * (1 + len(spec.levels))
    return NativeTower(front, layers, choice, width=width, merge=spec.config.spatial_merge_size)


class _ModuleLayers:
    """Transformers' own forward, merger included."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._merge = model.spatial_merge_size

    def prepare(self, grids: Sequence[Grid]) -> PreparedBatch:
        sizes = torch.tensor([[1, self._merge * rows, self._merge * columns] for rows, columns in grids])
        cells = sum(rows * columns for rows, columns in grids)
        return _ModuleBatch(self._model, sizes, torch.arange(cells, device=self._model.device))


@dataclass(frozen=True, slots=True, eq=False)
class _ModuleBatch:
    model: Any
    sizes: torch.Tensor
    """[images, (frames, patch rows, patch columns)]."""
    order: torch.Tensor

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        made = self.model(hidden, send(self.sizes, hidden.device))
        return torch.cat([made.pooler_output, *getattr(made, "deepstack_features", ())], 1)


def _front(tensors: TowerTensors, spec: Spec, folder: Path, choice: TowerChoice) -> FoldedPatchEmbed:
    config, (mean, std) = spec.config, read_normalisation(folder)
    shape = spec.hidden, 3, config.temporal_patch_size, config.patch_size, config.patch_size
    return fold_patch_embed(
        tensors.take("patch_embed.proj.weight", shape),
        tensors.take("patch_embed.proj.bias", (spec.hidden,)) if spec.bias else None,
        mean,
        std,
        None,
        None,
        dtype=choice.dtype,
        device=choice.device,
    )


def _fused_layers(tensors: TowerTensors, model: Any, spec: Spec, choice: TowerChoice) -> SteppedLayers:
    """Our blocks and projectors, windows of equal length side by side over all images."""
    whole = range(len(model.blocks)) if spec.whole is None else spec.whole
    layers = [read_layer(layer) for layer in model.blocks]
    blocks = VarlenBlocks(
        layers,
        whole,
        choice.dtype,
        choice.device,
        stops=spec.levels,
        way=choose_way(choice.body, choice.one_call),
        precision=choice.precision,
    )
    *levels, last = (
        partial(_projected, _back(tensors, spec, merger, choice), choice.backend)
        for merger in (*spec.levels.values(), spec.merger)
    )
    return SteppedLayers(
        _positions(tensors, spec, choice) if spec.positions else None,
        by_levels(blocks.stages, levels, last) if levels else straight(blocks, last),
        spec.config.spatial_merge_size,
        choice.device,
        spec.window,
    )


def _positions(tensors: TowerTensors, spec: Spec, choice: TowerChoice) -> Step:
    table = tensors.take("pos_embed.weight", (spec.positions, spec.hidden))
    table = table.to(choice.device, torch.float32, copy=True)
    return lambda hidden, sequence: hidden.add_(resample(table, sequence))


def _projected(
    back: FoldedProjector, backend: Backend, hidden: torch.Tensor, scatter: ScatterIndex
) -> torch.Tensor:
    rows = hidden.new_empty(len(hidden) // back.merge.parts, back.width)
    return project(hidden[None], back, backend=backend, out=rows, scatter=scatter)


def _back(tensors: TowerTensors, spec: Spec, merger: Merger, choice: TowerChoice) -> FoldedProjector:
    merge = Merge(spec.config.spatial_merge_size, "given")
    inputs = spec.hidden * merge.parts

    def take(name: str, *shape: int) -> torch.Tensor:
        return tensors.take(f"{merger.module}.{name}", shape)

    first, second = (
        Linear(take(f"{name}.weight", outputs, inputs), take(f"{name}.bias", outputs))
        for name, outputs in zip(merger.linears, (inputs, spec.width), strict=True)
    )
    size = inputs if merger.per == "row" else spec.hidden
    bias = take(f"{merger.norm}.bias", size) if merger.kind == "layer" else None
    return fold_projector(
        (first, second),
        activation="gelu",
        norm=Norm(merger.kind, merger.per, take(f"{merger.norm}.weight", size), bias, eps=_MERGER_EPS),
        merge=merge,
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )
