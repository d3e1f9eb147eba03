"""Towers that take pictures of any sizes in one packed forward, run by transformers and by us (Qwen2.5-VL).

Both take the same cells, uint8 [cells, side, side, 3], picture by picture and row by row, and give a row for each.
"""

from __future__ import annotations

import torch

from benchmarks.encoders.models import Call, Model
from kernels.backend import Backend
from kernels.blocks import Body
from kernels.patch_embed import patch_embed
from kernels.project import Linear, Merge, Norm, fold_projector, project, scatter_index
from kernels.runner import Attention, attend
from kernels.towers.towers import Tower
from kernels.varlen import Grid, VarlenBlocks, choose_body, choose_way, pack, read_layer

MERGE = 2


class NativeModel(Model):
    """The first pictures of the encoder's mix, as many as the cells are for."""

    def _grids(self, cells: int) -> list[Grid]:
        batch = 1
        while self.encoder.tiles(batch) < cells:
            batch += 1
        return [Grid(*size) for size in self.encoder.grids(batch)]

    def pixel_values(self, tiles: torch.Tensor) -> torch.Tensor:
        p = self.encoder.patch
        patches = tiles.view(-1, MERGE, p, MERGE, p, 3).transpose(2, 3).reshape(-1, p, p, 3)
        values = super().pixel_values(patches)  # [patches, 3, P, P]
        return values.unsqueeze(2).expand(-1, -1, 2, -1, -1).flatten(1)  # a still fills both frames

    def transformers(self) -> Call:
        def run(tiles: torch.Tensor) -> torch.Tensor:
            sizes = [[1, MERGE * rows, MERGE * columns] for rows, columns in self._grids(len(tiles))]
            rows: torch.Tensor = self.tower(
                self.pixel_values(tiles), torch.tensor(sizes, device=self.device)
            ).pooler_output
            return rows

        return run

    def transformers_front(self) -> Call:
        return lambda tiles: self.tower.patch_embed(self.pixel_values(tiles))

    def choose_body(self) -> Body:
        return choose_body(self.body, device=self.device)

    def our_front(self, backend: Backend) -> Call:
        folded, side = self.folded_front(), self.encoder.side
        # cells one below the other: their patches line by line are cell by cell
        return lambda tiles: patch_embed(tiles.view(1, -1, side, 3), folded, backend=backend).squeeze(0)

    def ours(self, backend: Backend) -> Call:
        if (body := self.choose_body()) not in ("fused", "triton"):
            raise ValueError(
                f"body: got {body!r}, allowed for pictures of any sizes are 'auto', 'fused' and 'triton'"
            )
        front, config = self.our_front(backend), self.tower.config
        blocks = VarlenBlocks(
            [read_layer(layer) for layer in self.parts.layers],
            config.fullatt_block_indexes,
            self.dtype,
            self.device,
            way=choose_way(body, self.attention == "varlen"),
        )
        norm, (first, _, second) = self.tower.merger.ln_q, self.tower.merger.mlp
        back = fold_projector(
            [Linear(first.weight, first.bias), Linear(second.weight, second.bias)],
            norm=Norm("rms", "patch", norm.weight, None, norm.variance_epsilon),
            merge=Merge(MERGE, "given"),
            dtype=self.dtype,
            device=self.device,
            backend=backend,
        )
        window = config.window_size // self.encoder.side

        def run(tiles: torch.Tensor) -> torch.Tensor:
            sequence = pack(self._grids(len(tiles)), window=window, device=self.device)
            with attend(self.attention):
                hidden = blocks(front(tiles[sequence.order.to(self.device)]), sequence)
            rows = hidden.new_empty(len(tiles), back.width)
            scatter = scatter_index(sequence.order, device=self.device)
            return project(hidden[None], back, backend=backend, out=rows, scatter=scatter)

        return run


def make_model(
    encoder: Tower,
    device: torch.device,
    dtype: torch.dtype,
    *,
    body: str = "auto",
    attention: Attention = "auto",
) -> Model:
    return (NativeModel if encoder.mix else Model)(encoder, device, dtype, body=body, attention=attention)
