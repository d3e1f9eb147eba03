"""Qwen2.5-VL's vision encoder: cells of images of any sizes to soft tokens, in one packed forward.

Does what transformers' `Qwen2_5_VLModel.get_image_features` does. The front is `kernels.patch_embed`: cells put one
below the other are a picture of a cell's width, whose patches line by line are in the tower's own order. The body is
`kernels.varlen` or transformers' own modules, the back is `kernels.project`: RMSNorm of each patch, the cell's patches
in one row, an MLP, each row in its image's place. Paper: Qwen2.5-VL (arXiv 2502.13923).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionBlock,
)

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
    scatter_index,
)
from kernels.varlen import Grid, PackedSequence, VarlenBlocks, pack, read_layer
from kernels.varlen import choose_body as choose_varlen_body
from service.checkpoint.files import read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.domain import View
from service.errors import ConfigurationError
from service.families.qwen_vl.names import own_name
from service.families.towers import TiledImage, TowerChoice, resolve_body

_MERGER_EPS = 1e-6
"""As transformers' merger has it; no configuration says it."""


class PreparedBatch(Protocol):
    """Blocks and merger, prepared for the images of one forward."""

    @property
    def order(self) -> torch.Tensor:
        """int64 [cells] on the host: the order in which the cells are to be embedded."""
        ...

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[patches, hidden], cells in `order`, to [cells, width], in the images' own order."""
        ...


class Layers(Protocol):
    """The transformer blocks and the merger: all that follows the patch embedding."""

    def prepare(self, grids: Sequence[Grid]) -> PreparedBatch:
        """For one forward of images of these grids."""
        ...


class QwenVLTower:
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
        cells = torch.cat([image.tiles[0] for image in images])[batch.order]
        if self.choice.device.type == "cuda":
            cells = cells.pin_memory()
        # one below the other: [1, cells · side, side, 3], whose patches line by line are cell by cell
        tall = cells.to(self.choice.device, non_blocking=True).view(1, -1, self._cell, 3)
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


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    with torch.device("meta"):
        layer = Qwen2_5_VLVisionBlock(_config(folder))
    return resolve_body(layer, read_layer, lambda obstacle: choose_varlen_body(requested, obstacle=obstacle))


def load(folder: Path, choice: TowerChoice) -> QwenVLTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and merger.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = _config(folder)
    tensors = TowerTensors(folder, own_name)
    front = _front(tensors, config, folder, choice)
    with torch.device("meta"):
        model = Qwen2_5_VisionTransformerPretrainedModel._from_config(config, attn_implementation="sdpa")
    # its frequencies are computed, not loaded, and on the meta device they were not
    model.rotary_pos_emb = type(model.rotary_pos_emb)(config)
    model.patch_embed = torch.nn.Identity()
    # ours are copies: the device need not hold both
    tensors.fill(
        model.blocks, "blocks", torch.device("cpu") if choice.body == "fused" else choice.device, choice.dtype
    )
    layers: Layers
    if choice.body == "fused":
        layers = _FusedLayers(model, config, _back(tensors, config, choice), choice.backend)
    else:
        tensors.fill(model.merger, "merger", choice.device, choice.dtype)
        layers = _ModuleLayers(model.to(choice.device).eval())
    tensors.refuse_rest()
    return QwenVLTower(front, layers, choice, width=config.out_hidden_size, merge=config.spatial_merge_size)


class _FusedLayers:
    """Our blocks and projector, windows of equal length side by side over all images."""

    def __init__(self, model: Any, config: Any, back: FoldedProjector, backend: Backend) -> None:
        self._window = config.window_size // config.spatial_merge_size // config.patch_size
        self._merge = config.spatial_merge_size
        self._back = back
        self._backend = backend
        self._device = back.linears[0].weight.device
        layers = [read_layer(layer) for layer in model.blocks]
        self._blocks = VarlenBlocks(layers, config.fullatt_block_indexes, back.dtype, self._device)

    def prepare(self, grids: Sequence[Grid]) -> PreparedBatch:
        sequence = pack(grids, merge=self._merge, window=self._window, device=self._device)
        scatter = scatter_index(sequence.order, device=self._device)
        return _FusedBatch(self._blocks, self._back, self._backend, sequence, scatter)


@dataclass(frozen=True, slots=True, eq=False)
class _FusedBatch:
    blocks: VarlenBlocks
    back: FoldedProjector
    backend: Backend
    sequence: PackedSequence
    scatter: ScatterIndex

    @property
    def order(self) -> torch.Tensor:
        return self.sequence.order

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.blocks(hidden, self.sequence)
        rows = hidden.new_empty(len(self.order), self.back.width)
        return project(hidden[None], self.back, backend=self.backend, out=rows, scatter=self.scatter)


class _ModuleLayers:
    """Transformers' own forward, merger included."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._merge = model.spatial_merge_size

    def prepare(self, grids: Sequence[Grid]) -> PreparedBatch:
        sizes = torch.tensor([[1, self._merge * rows, self._merge * columns] for rows, columns in grids])
        return _ModuleBatch(self._model, sizes, torch.arange(sum(rows * columns for rows, columns in grids)))


@dataclass(frozen=True, slots=True, eq=False)
class _ModuleBatch:
    model: Any
    sizes: torch.Tensor
    """[images, (frames, patch rows, patch columns)]."""
    order: torch.Tensor

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.model(hidden, self.sizes.to(hidden.device)).pooler_output
        return rows


def _config(folder: Path) -> Any:
    """The tower's part of config.json."""
    file = folder / "config.json"
    try:
        whole = Qwen2_5_VLConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever transformers' validation makes of the file
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"model: {file} is not Qwen2.5-VL's: {reason}") from None
    config: Any = whole.vision_config
    if config.in_channels != 3:
        raise ConfigurationError(f"model: {file} has in_channels {config.in_channels}; needed are 3")
    if config.hidden_size % (4 * config.num_heads):
        raise ConfigurationError(
            f"model: {file} has hidden_size {config.hidden_size} and num_heads {config.num_heads}; each head needs a "
            "multiple of four"
        )
    if config.window_size < config.spatial_merge_size * config.patch_size:
        raise ConfigurationError(
            f"model: {file} has window_size {config.window_size}; needed are at least the "
            f"{config.spatial_merge_size * config.patch_size} pixels of a soft token"
        )
    if config.out_hidden_size != whole.text_config.hidden_size:
        raise ConfigurationError(
            f"model: {file} has out_hidden_size {config.out_hidden_size} and the language model's hidden_size is "
            f"{whole.text_config.hidden_size}"
        )
    return config


def _front(tensors: TowerTensors, config: Any, folder: Path, choice: TowerChoice) -> FoldedPatchEmbed:
    mean, std = read_normalisation(folder)
    shape = config.hidden_size, 3, config.temporal_patch_size, config.patch_size, config.patch_size
    return fold_patch_embed(
        tensors.take("patch_embed.proj.weight", shape),
        None,
        mean,
        std,
        None,
        None,
        dtype=choice.dtype,
        device=choice.device,
    )


def _back(tensors: TowerTensors, config: Any, choice: TowerChoice) -> FoldedProjector:
    merge = Merge(config.spatial_merge_size, "given")
    inputs, width = config.hidden_size * merge.parts, config.out_hidden_size

    def take(name: str, *shape: int) -> torch.Tensor:
        return tensors.take(f"merger.{name}", shape)

    first = Linear(take("mlp.0.weight", inputs, inputs), take("mlp.0.bias", inputs))
    second = Linear(take("mlp.2.weight", width, inputs), take("mlp.2.bias", width))
    return fold_projector(
        (first, second),
        activation="gelu",
        norm=Norm("rms", "patch", take("ln_q.weight", config.hidden_size), None, eps=_MERGER_EPS),
        merge=merge,
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )
