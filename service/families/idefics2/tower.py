"""Idefics2's vision encoder: views of any sizes to soft tokens, as by transformers' `Idefics2Model.get_image_features`.

A SigLIP whose positions are looked up by fractions of an image, and a Perceiver whose latents read the patches. Views
of one size are computed together, without padding. Blocks are `kernels.blocks` or transformers' own, the connector is
transformers' own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Idefics2Config, SiglipVisionConfig
from transformers.models.idefics2.modeling_idefics2 import Idefics2Connector

from kernels.blocks import Body
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed, patch_embed
from service.checkpoint.files import STANDARD, read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.domain import View
from service.families.backbones import siglip
from service.families.idefics2.names import own_name
from service.families.tile_tower import Blocks, blocks_of, choose_tile_body, read_model_config
from service.families.towers import TiledImage, TowerChoice

_BELOW_ONE = 1 - 1e-6
"""The largest fraction of an image, as transformers has it."""


class Idefics2Tower:
    """Satisfies `service.families.towers.Tower`."""

    def __init__(
        self,
        front: FoldedPatchEmbed,
        positions: torch.Tensor,
        blocks: Blocks,
        after: nn.Module,
        connector: Any,
        choice: TowerChoice,
    ) -> None:
        """`positions`: [side², hidden], the learned table. `connector`: transformers' module."""
        self.choice = choice
        self._front = front
        self._positions = positions
        self._blocks = blocks
        self._after = after
        self._connector = connector
        self._latents, self.width = connector.perceiver_resampler.latents.shape
        self.constants = torch.empty(0, self.width, dtype=choice.dtype)

    @torch.inference_mode()
    def encode(self, images: Sequence[TiledImage]) -> list[torch.Tensor]:
        """Raises ValueError for a view of several tiles, or of pixels that fill no patch."""
        views = [tiles for image in images for tiles in image.tiles]  # each [1, height, width, 3]
        alike: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, tiles in enumerate(views):
            alike[tuple(tiles.shape)].append(number)
        rows = torch.empty(
            len(views), self._latents, self.width, dtype=self.choice.dtype, device=self.choice.device
        )
        for shape, numbers in alike.items():
            self._must_be_a_view(shape)
            rows[numbers] = self._run(torch.cat([views[number] for number in numbers]))
        return [part.flatten(0, 1) for part in torch.split(rows, [image.tile_count for image in images])]

    def bucket(self, views: Sequence[View]) -> Hashable:
        """Any images can share a forward."""
        return None

    def blank(self, patches: int) -> TiledImage:
        side = self._front.patch_size
        rows = max(1, isqrt(patches))
        width, height = max(1, patches // rows) * side, rows * side
        view = View(width, height, width, height)
        pixels = torch.full((1, view.height, view.width, 3), 128, dtype=torch.uint8)
        return TiledImage([view], [pixels], self._latents)

    def _run(self, tiles: torch.Tensor) -> torch.Tensor:
        """uint8 [views, height, width, 3] → [views, latents, width]"""
        side = self._front.patch_size
        rows, columns = tiles.shape[1] // side, tiles.shape[2] // side
        places = position_ids(rows, columns, isqrt(len(self._positions)))
        hidden = patch_embed(tiles.to(self.choice.device), self._front, backend=self.choice.backend)
        hidden += self._positions[places.to(self.choice.device)]
        hidden = self._after(self._blocks(hidden))
        seen = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        made: torch.Tensor = self._connector(hidden, seen)
        return made

    def _must_be_a_view(self, shape: tuple[int, ...]) -> None:
        side = self._front.patch_size
        if len(shape) != 4 or shape[0] != 1 or shape[1] % side or shape[2] % side or 0 in shape:
            raise ValueError(
                f"tiles are {list(shape)}; this tower takes views of one tile, in whole patches of {side}"
            )


@lru_cache(maxsize=256)
def position_ids(rows: int, columns: int, side: int) -> torch.Tensor:
    """int64 [rows · columns]: which place of a table of side × side each patch of a view has.

    That of the same fraction of the whole, in float32 as in transformers whatever a model's number format.
    """
    edges = torch.arange(1 / side, 1.0, 1 / side)

    def places(count: int) -> torch.Tensor:
        fractions = torch.arange(count, dtype=torch.float32) * (1.0 / torch.tensor(count))
        return torch.bucketize(fractions.clamp(max=_BELOW_ONE), edges, right=True)

    return (places(rows)[:, None] * side + places(columns)).flatten()


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    return choose_tile_body(siglip, _vision(_config(folder)), device=device, dtype=dtype, requested=requested)


def load(folder: Path, choice: TowerChoice) -> Idefics2Tower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and connector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = _config(folder)
    vision = _vision(config)
    tensors = TowerTensors(folder, own_name)
    with torch.device("meta"):
        model: Any = siglip.build(vision)
        connector: Any = Idefics2Connector(config)
    parts = siglip.parts(model)
    tensors.fill(model.embeddings, "vision_model.embeddings", torch.device("cpu"), None)
    tensors.fill(parts.layers, "vision_model.encoder.layers", choice.device, choice.dtype)
    tensors.fill(parts.after, "vision_model.post_layernorm", choice.device, choice.dtype)
    tensors.fill(connector, "connector", choice.device, choice.dtype)
    tensors.refuse_rest()
    embedded = siglip.parts(model)
    front = fold_patch_embed(
        embedded.weight,
        embedded.bias,
        *read_normalisation(folder, STANDARD),
        None,
        None,
        dtype=choice.dtype,
        device=choice.device,
    )
    table = model.embeddings.position_embedding.weight.to(choice.device, choice.dtype)
    blocks = blocks_of(
        parts.layers,
        mask=parts.mask,
        body=choice.body,
        dtype=choice.dtype,
        precision=choice.precision,
    )
    return Idefics2Tower(front, table, blocks, parts.after, connector, choice)


def _config(folder: Path) -> Any:
    return read_model_config(folder, Idefics2Config, "Idefics2's")


def _vision(config: Any) -> SiglipVisionConfig:
    return siglip.config_like(config.vision_config)
