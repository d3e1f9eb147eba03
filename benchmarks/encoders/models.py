"""Towers run by transformers and by us.

Both take the same uint8 pixels and give the same rows: hidden states after the last layer, through the projector of a
model that has this tower, where there is one. `native.py` has those of pictures of any sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any, Self

import torch
from torch import nn

from benchmarks.encoders.parts import parts_of
from kernels.backend import Backend
from kernels.blocks import Body, UnsupportedLayer, choose_body, read_layer
from kernels.layer_norm import layer_norm
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed, patch_embed
from kernels.patch_embed.reference import normalise
from kernels.project import FoldedProjector, Linear, Merge, Norm, fold_projector, project
from kernels.runner import Attention, attend
from kernels.towers.front import MEAN, STD, cast
from kernels.towers.towers import Shuffle, Tower
from service.families.tile_tower import blocks_of

Call = Callable[[torch.Tensor], torch.Tensor]


class Model:
    """One encoder's weights in one dtype on one device, and the ways through them."""

    def __init__(
        self,
        encoder: Tower,
        device: torch.device,
        dtype: torch.dtype,
        *,
        body: str = "auto",
        attention: Attention = "auto",
    ) -> None:
        """`body` and `attention` are of our blocks."""
        torch.manual_seed(0)
        self.encoder, self.device, self.dtype = encoder, device, dtype
        self.body, self.attention = body, attention
        with device:  # a GPU draws a billion numbers in a moment
            self.tower: Any = cast(encoder.build(), dtype)
            self.projector: nn.Module | None = None
            if encoder.projector is not None:
                self.projector = cast(encoder.projector(), dtype).requires_grad_(False)
        self.parts = parts_of(encoder, self.tower)
        # in fp32, as image processors keep them
        self._shift, self._scale = (255 * torch.tensor(v, device=device).view(3, 1, 1) for v in (MEAN, STD))

    def precise(self) -> Self:
        """The same weights in fp64: that they were rounded to this dtype is no error of a computation."""
        other = copy(self)
        other.dtype = torch.float64
        other.tower = cast(deepcopy(self.tower), torch.float64)
        if self.projector is not None:
            other.projector = cast(deepcopy(self.projector), torch.float64)
        other.parts = parts_of(self.encoder, other.tower)
        return other

    @property
    def variant(self) -> str:
        """What is asked for of our blocks, for the names of rows; empty by default."""
        return "".join(f", {chosen}" for chosen in (self.body, self.attention) if chosen != "auto")

    @property
    def skip(self) -> int:
        """Tokens in front of an image's patches."""
        return int(self.parts.cls is not None)

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        """[images, tokens, hidden] → rows, as transformers does; the hidden states where there is no projector."""
        if self.projector is None:
            return hidden
        rows: torch.Tensor = self.projector(hidden[:, self.skip :])
        return rows

    def our_projection(self, backend: Backend) -> Call:
        """The same rows by `kernels.project`."""
        if self.projector is None:
            return lambda hidden: hidden
        folded = self._folded_projector(self.projector, backend)
        return lambda hidden: project(hidden, folded, backend=backend).view(len(hidden), -1, folded.width)

    def _folded_projector(self, projector: nn.Module, backend: Backend) -> FoldedProjector:
        modules = list(projector.modules())
        norms = [one for one in modules if isinstance(one, nn.LayerNorm)]
        return fold_projector(
            [Linear(one.weight, one.bias) for one in modules if isinstance(one, nn.Linear)],
            norm=Norm("layer", "row", norms[0].weight, norms[0].bias, norms[0].eps) if norms else None,
            merge=Merge(2) if any(isinstance(one, Shuffle) for one in modules) else None,
            skip=self.skip,
            dtype=self.dtype,
            device=self.device,
            backend=backend,
        )

    def pixel_values(self, tiles: torch.Tensor) -> torch.Tensor:
        """uint8 [images, side, side, 3] → what transformers' model takes."""
        return normalise(tiles, self._shift, self._scale).to(self.dtype)

    def transformers(self) -> Call:
        """Normalisation as its image processors do it, its model, the projector."""
        body = self.transformers_body()
        return lambda tiles: body(self.pixel_values(tiles))

    def transformers_body(self) -> Call:
        """From what its image processors leave."""
        return lambda values: self.project(self.tower(values).last_hidden_state)

    def transformers_front(self) -> Call:
        """Normalisation as its image processors do it, then its modules up to the first layer."""
        before = self.parts.before or nn.Identity()
        return lambda tiles: before(self.tower.embeddings(self.pixel_values(tiles)))

    def choose_body(self) -> Body:
        """What the service's "auto" takes here."""
        try:
            read_layer(self.parts.layers[0])
        except UnsupportedLayer as error:
            return choose_body(self.device, self.dtype, self.body, obstacle=str(error))
        return choose_body(self.device, self.dtype, self.body)

    def ours(self, backend: Backend) -> Call:
        """Our front, then `kernels.blocks` or transformers' layers, `kernels.project`."""
        if self.attention == "varlen":
            raise ValueError("attention: got 'varlen', which is for pictures of any sizes")
        front, after, back = self.our_front(backend), self.parts.after, self.our_projection(backend)
        body = blocks_of(self.parts.layers, mask=self.parts.mask, body=self.choose_body(), dtype=self.dtype)

        def run(tiles: torch.Tensor) -> torch.Tensor:
            with attend(self.attention):
                return back(after(body(front(tiles))))

        return run

    def our_front(self, backend: Backend) -> Call:
        """Pixels to what the first layer takes: `kernels.patch_embed`, and `kernels.layer_norm` for CLIP."""
        embed, norm = self._our_embed(backend), self.parts.before
        if norm is None:
            return embed
        parameters = norm.weight, norm.bias, norm.eps
        return lambda tiles: layer_norm(embed(tiles), *parameters, backend=backend)

    def _our_embed(self, backend: Backend) -> Call:
        folded, pixels = self.folded_front(), self.encoder.pixels
        return lambda tiles: patch_embed(tiles[:, :pixels, :pixels], folded, backend=backend)

    def folded_front(self) -> FoldedPatchEmbed:
        p = self.parts
        return fold_patch_embed(
            p.weight, p.bias, MEAN, STD, p.position, p.cls, dtype=self.dtype, device=self.device
        )

    def products(self) -> list[nn.Linear]:
        """Every linear layer of the blocks."""
        return [module for module in self.parts.layers.modules() if isinstance(module, nn.Linear)]
