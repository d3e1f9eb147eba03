"""The blocks over one packed sequence.

On a GPU a layer is a few launches for all tokens together, and attention one for each length of piece; nothing asks
the device for an answer. On a CPU what sees nothing of the others goes by itself through all layers up to the next that
sees the whole image: some windows at a time, so that their activations stay in the cache, each thread its share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby

import torch
import torch.nn.functional as F

from kernels.blocks.cpu import ROWS_TOGETHER
from kernels.blocks.crew import Crew
from kernels.ragged.arrangement import Arrangement, Group
from kernels.ragged.attention import attend, turns
from kernels.ragged.fold import FoldedBlock, fold
from kernels.ragged.reference import RaggedBlock


class RaggedBlocks:
    """The blocks of one tower, with copies of their weights in `dtype` on `device`; used by one thread at a time.

    `whole` are the numbers of the layers that see the whole image; the others see windows. `apart` says whether pieces
    go through the layers by themselves; by default on a CPU.
    """

    def __init__(
        self,
        blocks: Sequence[RaggedBlock],
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
    def __call__(self, hidden: torch.Tensor, arrangement: Arrangement) -> torch.Tensor:
        """[tokens, hidden], contiguous, in the dtype of the weights: changed in place, and returned."""
        turn = turns(arrangement.positions, self._width)
        for sees_all, blocks in self._stretches:
            groups = arrangement.images if sees_all else arrangement.windows
            if self._apart:
                self._by_pieces(hidden, blocks, groups, turn)
            else:
                for block in blocks:
                    _run(hidden, block, groups, turn)
        return hidden

    def _by_pieces(
        self, hidden: torch.Tensor, blocks: Sequence[FoldedBlock], groups: Sequence[Group], turn: torch.Tensor
    ) -> None:
        threads = torch.get_num_threads()
        pieces = sorted(_pieces(groups, threads), key=lambda piece: piece.tokens, reverse=True)
        through = partial(_through, hidden, blocks, turn)
        # one that is more than a thread's share would keep the others waiting: all work on it together
        shared = [piece for piece in pieces if piece.tokens * threads > len(hidden) + threads]
        apart = pieces[len(shared) :]
        if threads == 1 or len(apart) < threads:
            shared, apart = pieces, []
        for piece in shared:
            through(piece)
        if apart:
            if self._crew is None or self._crew.size != threads:
                self._crew = Crew(threads)
            self._crew.each(through, apart)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tokens that see none but each other."""

    rows: slice | torch.Tensor
    groups: tuple[Group, ...]
    """of tokens as `rows` has them"""

    @property
    def tokens(self) -> int:
        return sum(group.tokens for group in self.groups)


def _pieces(groups: Sequence[Group], threads: int) -> Iterator[_Piece]:
    """The groups in pieces of some `ROWS_TOGETHER` tokens, or of one thread's share where that is less."""
    tokens = sum(group.tokens for group in groups)
    rounds = -(-tokens // (ROWS_TOGETHER * threads))
    share = -(-tokens // (rounds * threads))
    some: list[Group] = []
    for group in groups:
        first = 0
        while first < group.count:
            room = share - sum(one.tokens for one in some)
            if some and room < group.length:
                yield _joined(some)
                some, room = [], share
            count = min(max(1, room // group.length), group.count - first)
            some.append(group.part(first, count))
            first += count
    yield _joined(some)


def _joined(groups: Sequence[Group]) -> _Piece:
    begins = accumulate((group.tokens for group in groups), initial=0)
    within = tuple(
        Group(group.count, group.length, begin) for group, begin in zip(groups, begins, strict=False)
    )
    if all(
        group.index is None and group.begin == groups[0].begin + one.begin
        for group, one in zip(groups, within, strict=True)
    ):
        return _Piece(slice(groups[0].begin, groups[-1].begin + groups[-1].tokens), within)
    return _Piece(torch.cat([group.where for group in groups]), within)


@torch.inference_mode()
def _through(hidden: torch.Tensor, blocks: Sequence[FoldedBlock], turn: torch.Tensor, piece: _Piece) -> None:
    """One piece through all blocks."""
    part, turned = hidden[piece.rows], turn[piece.rows]
    for block in blocks:
        _run(part, block, piece.groups, turned)
    if isinstance(piece.rows, torch.Tensor):
        hidden[piece.rows] = part


def _run(hidden: torch.Tensor, p: FoldedBlock, groups: Sequence[Group], turn: torch.Tensor) -> None:
    """One block, in place."""
    width = hidden.shape[-1:]
    qkv = p.qkv(F.rms_norm(hidden, width, p.norm_before, p.eps[0]))
    hidden += p.out(_attention(qkv, p, groups, turn))
    # on a CPU some rows at a time, for the cache
    for rows in torch.split(hidden, ROWS_TOGETHER if hidden.device.type == "cpu" else len(hidden)):
        rows += p.down(p.gated(F.rms_norm(rows, width, p.norm_after, p.eps[1])))


def _attention(
    qkv: torch.Tensor, p: FoldedBlock, groups: Sequence[Group], turn: torch.Tensor
) -> torch.Tensor:
    """[tokens, 3 · hidden] → [tokens, hidden]; each token is in one of the groups."""

    def within(group: Group) -> torch.Tensor:
        shape = group.count, group.length, -1
        part, turned = qkv[group.rows].view(shape), turn[group.rows].view(shape)
        return attend(part, turned, p.heads, p.scale).flatten(0, 1)

    if len(groups) == 1 and groups[0].index is None:
        return within(groups[0])
    seen = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
    for group in groups:
        seen[group.rows] = within(group)
    return seen
