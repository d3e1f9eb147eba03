"""What follows the patch embedding, step by step: a norm or positions, blocks, a projector, or one for each level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kernels.project import ScatterIndex, scatter_index
from kernels.varlen import Grid, PackedSequence, pack

Step = Callable[[torch.Tensor, PackedSequence], torch.Tensor]
"""[patches, hidden], cells in the sequence's order → the same; may change what it is given."""
Back = Callable[[torch.Tensor, ScatterIndex], torch.Tensor]
"""[patches, hidden] → [cells, width], each row where the index says."""
Way = Callable[[torch.Tensor, PackedSequence, ScatterIndex], torch.Tensor]
"""[patches, hidden], cells in the sequence's order → [cells, width], each row where the index says; may change what it
is given."""


@dataclass(frozen=True, slots=True, eq=False)
class SteppedLayers:
    """Satisfies `service.families.native.tower.Layers`."""

    before: Step | None
    way: Way
    """Through blocks and projector."""
    merge: int
    """Patches on a side of a cell."""
    device: torch.device
    window: int | None = None
    """Cells on a side of a window; None where every patch sees its whole image in all layers."""

    def prepare(self, grids: Sequence[Grid]) -> SteppedBatch:
        sequence = pack(grids, merge=self.merge, window=self.window, device=self.device)
        return SteppedBatch(self, sequence, scatter_index(sequence.order, device=self.device))


@dataclass(frozen=True, slots=True, eq=False)
class SteppedBatch:
    """Satisfies `service.families.native.tower.PreparedBatch`."""

    layers: SteppedLayers
    sequence: PackedSequence
    scatter: ScatterIndex

    @property
    def order(self) -> torch.Tensor:
        return self.scatter.rows

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.layers.before is not None:
            hidden = self.layers.before(hidden, self.sequence)
        return self.layers.way(hidden, self.sequence, self.scatter)


def straight(blocks: Step, back: Back) -> Way:
    """Through all blocks, then out."""
    return lambda hidden, sequence, scatter: back(blocks(hidden, sequence), scatter)


def by_levels(
    stages: Callable[[torch.Tensor, PackedSequence], Iterator[torch.Tensor]],
    levels: Sequence[Back],
    last: Back,
) -> Way:
    """DeepStack (Meng et al. 2024, arXiv:2406.04334): a soft token is the row of the last layer, and behind it those of
    the layers after which `stages` stops, each by a projector of its own: [cells, (1 + levels) · width]."""

    def way(hidden: torch.Tensor, sequence: PackedSequence, scatter: ScatterIndex) -> torch.Tensor:
        reached = stages(hidden, sequence)
        *before, final = [back(each, scatter) for back, each in zip((*levels, last), reached, strict=True)]
        return torch.cat([final, *before], 1)

    return way


class ModuleBlocks:
    """Transformers' own modules, one image after another; a `Step`.

    `rotary` makes cos and sin of positions [patches, 2]; `run` takes one image, [patches, hidden], and both of its
    patches through all layers.
    """

    def __init__(
        self, rotary: Any, run: Callable[[torch.Tensor, tuple[torch.Tensor, ...]], torch.Tensor]
    ) -> None:
        self._rotary = rotary
        self._run = run

    def __call__(self, hidden: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
        rotations = self._rotary(hidden, sequence.positions)
        for group in sequence.images:
            for number in range(group.count):
                rows = group.part(number, 1).rows
                hidden[rows] = self._run(hidden[rows], tuple(each[rows] for each in rotations))
        return hidden
