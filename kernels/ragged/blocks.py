"""The blocks over one packed sequence.

On a GPU a layer is a few launches for all tokens together, and attention one for each length of piece; nothing asks
the device for an answer. On a CPU what sees nothing of the others goes by itself through all layers up to the next that
sees the whole image: some windows at a time, so that their activations stay in the cache, each thread its share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Sequence as Listed
from functools import partial
from itertools import groupby

import torch
import torch.nn.functional as F

from kernels.blocks.cpu import ROWS_TOGETHER
from kernels.blocks.crew import Crew
from kernels.ragged.attention import attend, turns
from kernels.ragged.fold import FoldedBlock, fold
from kernels.ragged.reference import RaggedBlock
from kernels.ragged.sequence import Group, Sequence


class RaggedBlocks:
    """The blocks of one tower, with copies of their weights in `dtype` on `device`; used by one thread at a time.

    `whole` are the numbers of the layers that see the whole image; the others see windows. `apart` says whether pieces
    go through the layers by themselves; by default on a CPU.
    """

    def __init__(
        self,
        blocks: Listed[RaggedBlock],
        whole: Collection[int],
        dtype: torch.dtype,
        device: torch.device | str,
        *,
        apart: bool | None = None,
    ) -> None:
        with torch.inference_mode():
            self._blocks = [fold(block, dtype, torch.device(device)) for block in blocks]
        self._width = blocks[0].width
        self._apart = torch.device(device).type == "cpu" if apart is None else apart
        self._stretches = [
            (sees_all, [self._blocks[number] for number in numbers])
            for sees_all, numbers in groupby(range(len(blocks)), lambda number: number in whole)
        ]
        """Layers that follow each other and see alike: (whether the whole image, layers)."""
        self._crew: Crew | None = None

    @torch.inference_mode()
    def __call__(self, hidden: torch.Tensor, sequence: Sequence) -> torch.Tensor:
        """[tokens, hidden], contiguous, in the dtype of the weights: changed in place, and returned."""
        turn = turns(sequence.positions, self._width)
        for sees_all, blocks in self._stretches:
            groups = sequence.images if sees_all else sequence.windows
            if self._apart:
                self._by_pieces(hidden, blocks, groups, turn)
            else:
                for block in blocks:
                    _run(hidden, block, groups, turn)
        return hidden

    def _by_pieces(
        self, hidden: torch.Tensor, blocks: Listed[FoldedBlock], groups: Listed[Group], turn: torch.Tensor
    ) -> None:
        threads = torch.get_num_threads()
        pieces = sorted(_pieces(groups, threads), key=lambda piece: piece.tokens, reverse=True)
        through = partial(_through, hidden, blocks, turn)
        # one that is more than a thread's share would keep the others waiting: all work on it together
        shared = [piece for piece in pieces if piece.tokens * threads > len(hidden)]
        apart = pieces[len(shared) :]
        if threads == 1 or len(apart) < threads:
            shared, apart = pieces, []
        for piece in shared:
            through(piece)
        if apart:
            if self._crew is None or self._crew.size != threads:
                self._crew = Crew(threads)
            self._crew.each(through, apart)


def _pieces(groups: Listed[Group], threads: int) -> Iterator[Group]:
    """The groups in pieces of some `ROWS_TOGETHER` tokens, or of one thread's share where that is less."""
    tokens = sum(group.tokens for group in groups)
    rounds = -(-tokens // (ROWS_TOGETHER * threads))
    share = -(-tokens // (rounds * threads))
    for group in groups:
        together = max(1, share // group.length)
        for first in range(0, group.count, together):
            count = min(together, group.count - first)
            begin, end = first * group.length, (first + count) * group.length
            index = None if group.index is None else group.index[begin:end]
            yield Group(count, group.length, group.begin + begin, index)


@torch.inference_mode()
def _through(hidden: torch.Tensor, blocks: Listed[FoldedBlock], turn: torch.Tensor, piece: Group) -> None:
    """One piece through all blocks."""
    part = _taken(hidden, piece)
    alone = (Group(piece.count, piece.length),)
    for block in blocks:
        _run(part, block, alone, _taken(turn, piece))
    if piece.index is not None:
        hidden[piece.index] = part


def _run(hidden: torch.Tensor, p: FoldedBlock, groups: Listed[Group], turn: torch.Tensor) -> None:
    """One block, in place."""
    width = hidden.shape[-1:]
    qkv = p.qkv(F.rms_norm(hidden, width, p.norm_before, p.eps[0]))
    hidden += p.out(_attention(qkv, p, groups, turn))
    # on a CPU some rows at a time, for the cache
    for rows in torch.split(hidden, ROWS_TOGETHER if hidden.device.type == "cpu" else len(hidden)):
        rows += p.down(p.gated(F.rms_norm(rows, width, p.norm_after, p.eps[1])))


def _attention(qkv: torch.Tensor, p: FoldedBlock, groups: Listed[Group], turn: torch.Tensor) -> torch.Tensor:
    """[tokens, 3 · hidden] → [tokens, hidden]; each token is in one of the groups."""
    made = []
    for group in groups:
        taken, turned = _taken(qkv, group), _taken(turn, group)
        shape = group.count, group.length, -1
        made.append(attend(taken.view(shape), turned.view(shape), p.heads, p.scale).flatten(0, 1))
    if len(groups) == 1 and groups[0].index is None:
        return made[0]
    seen = made[0].new_empty(len(qkv), made[0].shape[-1])
    for group, part in zip(groups, made, strict=True):
        if group.index is None:
            seen[group.begin : group.begin + group.tokens] = part
        else:
            seen[group.index] = part
    return seen


def _taken(of: torch.Tensor, group: Group) -> torch.Tensor:
    """The group's rows: a view where they lie together."""
    return of[group.begin : group.begin + group.tokens] if group.index is None else of[group.index]
