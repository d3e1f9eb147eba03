"""InternVL's vision encoder: uint8 tiles to soft tokens, as transformers' `InternVLModel.get_image_features` does.

The front is `kernels.patch_embed`, the body is `kernels.blocks` or transformers' own modules with SDPA, the back is
`kernels.project`: pixel shuffle, LayerNorm and MLP. Paper: InternVL 1.5 (arXiv 2404.16821). Knows nothing of images'
sizes, batching policy or the arena.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from transformers import InternVLConfig
from transformers.models.internvl.modeling_internvl import InternVLVisionLayer, InternVLVisionModel

from kernels.backend import Backend
from kernels.blocks import Body, FusedBlocks, choose_body, compile_layers, read_layer
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed, patch_embed
from kernels.project import ACTIVATIONS, FoldedProjector, Linear, Merge, Norm, fold_projector, project
from kernels.runner import Form
from service.checkpoint.tensors import TowerTensors
from service.domain import TilePlan, View
from service.errors import ConfigurationError
from service.families.towers import TiledImage, read_normalisation, resolve_body

_OWN = re.compile(r"(?:model\.)?((?:vision_tower|multi_modal_projector)\..+)")


class InternVLTower:
    """The tower and projector of one checkpoint on one device; satisfies `service.families.towers.TileTower`."""

    def __init__(
        self,
        front: FoldedPatchEmbed,
        blocks: Callable[[torch.Tensor], torch.Tensor],
        norm: torch.nn.Module,
        back: FoldedProjector,
        *,
        tile: int,
        device: torch.device,
        backend: Backend,
        body: Body,
    ) -> None:
        self.width = back.width
        self.dtype = front.dtype
        self.device = device
        self.backend = backend
        self.body = body
        self._front = front
        self._blocks = blocks
        self._norm = norm
        self._back = back
        self._tile = tile
        patches = (tile // front.patch_size) ** 2
        self.form = Form(tile, tile, back.merge.rows(patches), back.width, front.dtype)

    @classmethod
    def from_checkpoint(
        cls, folder: Path, *, device: torch.device, dtype: torch.dtype, backend: Backend, body: str
    ) -> Self:
        """Reads config.json, the image processor's mean and std, and the tensors of tower and projector.

        Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
        """
        config = _config(folder)
        tile, shuffle = _square(config, folder), _shuffle(config, folder)
        tensors = TowerTensors(folder, _own_name)
        with torch.device("meta"):
            model = InternVLVisionModel._from_config(config.vision_config, attn_implementation="sdpa")
        chosen = cls.choose_body(folder, device=device, dtype=dtype, requested=body)
        front = _front(tensors, config, folder, device, dtype)
        del model.embeddings
        tensors.fill(model, "vision_tower", device, dtype)
        back = _back(tensors, config, folder, Merge(shuffle), dtype=dtype, device=device, backend=backend)
        tensors.refuse_rest()
        depth = _depth(config, folder)
        layers = model.encoder.layer[:depth]
        return cls(
            front,
            _blocks(layers, chosen, dtype),
            # hidden states that are taken on the way are not normalised
            model.layernorm if depth is None else torch.nn.Identity(),
            back,
            tile=tile,
            device=device,
            backend=backend,
            body=chosen,
        )

    @classmethod
    def choose_body(cls, folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
        """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
        with torch.device("meta"):
            layer = InternVLVisionLayer(_config(folder).vision_config)
        return resolve_body(
            layer, read_layer, lambda obstacle: choose_body(device, dtype, requested, obstacle=obstacle)
        )

    @torch.inference_mode()
    def encode(self, images: Sequence[TiledImage]) -> list[torch.Tensor]:
        """Raises ValueError for tiles that are not uint8 [tiles, side, side, 3] of the checkpoint's side."""
        views = [view for image in images for view in image.views]
        tiles = views[0] if len(views) == 1 else torch.cat(views)  # [tiles, side, side, 3]
        if tiles.shape[1:] != (self._tile, self._tile, 3):
            raise ValueError(
                f"tiles are {list(tiles.shape)}; this tower takes {self._tile}×{self._tile} pixels"
            )
        rows = torch.empty(
            len(tiles) * self.form.rows, self.width, dtype=self.dtype, device=self.device
        )  # [tiles · rows of a tile, width]
        self.forward(tiles.to(self.device), rows)
        return list(torch.split(rows, [self.form.rows * image.tiles for image in images]))

    @torch.inference_mode()
    def forward(self, tiles: torch.Tensor, out: torch.Tensor) -> None:
        hidden = patch_embed(tiles, self._front, backend=self.backend)
        hidden = self._blocks(hidden)  # [tiles, 1 + patches, hidden]
        project(self._norm(hidden), self._back, backend=self.backend, out=out)

    def bucket(self, plan: TilePlan) -> Hashable:
        return frozenset((view.tile_width, view.tile_height) for view in plan.views)

    def blank(self, patches: int) -> TiledImage:
        side = self._tile
        of_tile = (side // self._front.patch_size) ** 2
        tiles = max(1, patches // of_tile)
        plan = TilePlan(
            "high", (View(tiles * side, side, side, side),), tiles * self.form.rows, tiles * of_tile
        )
        return TiledImage(plan, [torch.full((tiles, side, side, 3), 128, dtype=torch.uint8)])


def _own_name(stored: str) -> str | None:
    found = _OWN.fullmatch(stored)
    return found[1] if found else None


def _config(folder: Path) -> Any:
    try:
        return InternVLConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever transformers' validation makes of the file
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"model: {folder / 'config.json'} is not InternVL's: {reason}") from None


def _square(config: Any, folder: Path) -> int:
    """The side of a tile in pixels; transformers' model takes a square grid of square patches."""
    (height, width), (patch, other) = config.vision_config.image_size, config.vision_config.patch_size
    if height != width or patch != other or height % patch:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has image_size {height}×{width} and patch_size {patch}×{other}; "
            "needed is a square of whole square patches"
        )
    if config.vision_config.num_channels != 3:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has num_channels {config.vision_config.num_channels}; needed are 3"
        )
    return int(height)


def _shuffle(config: Any, folder: Path) -> int:
    """How many patches a soft token takes together in each direction."""
    strategy, ratio = config.vision_feature_select_strategy, config.downsample_ratio
    if strategy != "default":
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has vision_feature_select_strategy {strategy!r}; only 'default' leaves "
            "a square grid to shuffle"
        )
    grid = config.vision_config.image_size[0] // config.vision_config.patch_size[0]
    factor = round(1 / ratio) if ratio > 0 else 0
    if not factor or factor * ratio != 1 or grid % factor:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has downsample_ratio {ratio}, which does not divide a grid of "
            f"{grid}×{grid} patches"
        )
    return factor


def _blocks(
    layers: Iterable[torch.nn.Module], body: Body, dtype: torch.dtype
) -> Callable[[torch.Tensor], torch.Tensor]:
    if body == "fused":
        return FusedBlocks([read_layer(layer) for layer in layers], dtype)
    return compile_layers(layers) if body == "compiled" else torch.nn.Sequential(*layers)


def _depth(config: Any, folder: Path) -> int | None:
    """After how many layers the hidden state is taken; None after all, and after the last norm."""
    layer, layers = config.vision_feature_layer, config.vision_config.num_hidden_layers
    if not isinstance(layer, int) or not -layers - 1 <= layer <= layers:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has vision_feature_layer {layer}; allowed is one of "
            f"{-layers - 1} to {layers}"
        )
    if layer == -1:
        return None
    return layer if layer >= 0 else layers + 1 + layer


def _front(
    tensors: TowerTensors, config: Any, folder: Path, device: torch.device, dtype: torch.dtype
) -> FoldedPatchEmbed:
    vision, name = config.vision_config, "vision_tower.embeddings"
    hidden, patch = vision.hidden_size, vision.patch_size[0]
    patches = (vision.image_size[0] // patch) ** 2
    position = None
    if vision.use_absolute_position_embeddings:
        position = tensors.take(f"{name}.position_embeddings", (1, 1 + patches, hidden))
    tensors.drop(f"{name}.mask_token")  # of pre-training
    mean, std = read_normalisation(folder)
    return fold_patch_embed(
        tensors.take(f"{name}.patch_embeddings.projection.weight", (hidden, 3, patch, patch)),
        tensors.take(f"{name}.patch_embeddings.projection.bias", (hidden,)),
        mean,
        std,
        position,
        tensors.take(f"{name}.cls_token", (1, 1, hidden)),
        dtype=dtype,
        device=device,
    )


def _back(
    tensors: TowerTensors,
    config: Any,
    folder: Path,
    merge: Merge,
    *,
    dtype: torch.dtype,
    device: torch.device,
    backend: Backend,
) -> FoldedProjector:
    activation = config.projector_hidden_act
    if activation not in ACTIVATIONS:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has projector_hidden_act {activation!r}; "
            f"supported are {', '.join(ACTIVATIONS)}"
        )
    inputs, width = config.vision_config.hidden_size * merge.parts, config.text_config.hidden_size

    def take(name: str, *shape: int) -> torch.Tensor:
        return tensors.take(f"multi_modal_projector.{name}", shape)

    norm = Norm("layer", "row", take("layer_norm.weight", inputs), take("layer_norm.bias", inputs), eps=1e-5)
    first = Linear(take("linear_1.weight", width, inputs), take("linear_1.bias", width))
    second = Linear(take("linear_2.weight", width, width), take("linear_2.bias", width))
    return fold_projector(
        (first, second),
        activation=activation,
        norm=norm,
        merge=merge,
        skip=1,  # the class token
        dtype=dtype,
        device=device,
        backend=backend,
    )
