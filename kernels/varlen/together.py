"""All tokens of a sequence through a layer at once, for a GPU: a few launches a layer, none of which is waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from kernels.backend import Backend
from kernels.blocks.choice import Body
from kernels.blocks.reference import normalise
from kernels.blocks.residual import through
from kernels.rotary import pairs, rotary
from kernels.varlen.attention import attend_groups, rotations
from kernels.varlen.bounds import Bounds, attend_bounds, bounds_of
from kernels.varlen.fold import FoldedBlock
from kernels.varlen.sequence import PackedSequence, Segments


@dataclass(frozen=True, slots=True)
class Way:
    """How the layers are run."""

    between: Backend | None = None
    """Implementation of the kernels that stand between matrix products; None: torch's operations, one by one."""
    one_call: bool = False
    """Whether a layer's attention is one call for all segments, or one for each length."""


def choose_way(body: Body, one_call: bool) -> Way | None:
    """For a body of `choose_body`; None for what `VarlenBlocks` does by itself."""
    if body == "triton":
        return Way("triton", one_call)
    return Way(one_call=True) if one_call else None


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """Who sees whom in a layer."""

    groups: Sequence[Segments]
    bounds: Bounds | None
    """of the same, where attention is one call"""


class Together:
    """One forward of one sequence."""

    def __init__(self, way: Way, sequence: PackedSequence, width: int) -> None:
        """`width`: of a head."""
        self._way = way
        self._rope = rotations(sequence.positions, width)
        self._windows, self._images = (
            _Sight(groups, bounds_of(groups, self._rope.device) if way.one_call else None)
            for groups in (sequence.windows, sequence.images)
        )

    def through(self, hidden: torch.Tensor, layers: Sequence[tuple[bool, FoldedBlock]]) -> None:
        """[tokens, hidden], in place; of each layer, whether it sees the whole image."""
        steps = [
            (block, partial(self._attention, block, self._images if whole else self._windows))
            for whole, block in layers
        ]
        if self._way.between is not None:
            through(hidden, steps, self._way.between)
            return
        for p, attention in steps:
            hidden += p.out(attention(p.qkv(normalise(hidden, p.norm_before, p.eps[0], p.norm))))
            hidden += p.down(p.inner(normalise(hidden, p.norm_after, p.eps[1], p.norm)))

    def _attention(self, p: FoldedBlock, sight: _Sight, qkv: torch.Tensor) -> torch.Tensor:
        """[tokens, 3 · hidden] → [tokens, hidden]"""
        between, rope = self._way.between, self._rope
        if between is None and sight.bounds is None:
            return attend_groups(qkv, rope, sight.groups, p.heads, p.scale)
        if between is None:
            pairs.rotary(qkv, rope, p.heads)
        else:
            rotary(qkv, rope, p.heads, backend=between)
        if sight.bounds is None:
            return attend_groups(qkv, None, sight.groups, p.heads, p.scale)
        return attend_bounds(qkv, sight.bounds, p.heads)
