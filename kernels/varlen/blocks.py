"""The blocks over one packed sequence.

On a GPU all tokens go through a layer together (`together.py`). On a CPU what sees nothing of the others goes by itself
through all layers up to the next that sees the whole image: some windows at a time, so that their activations stay in
the cache, each thread its share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby, pairwise

import torch

from kernels.backend import BackendUnavailable
from kernels.blocks.cpu import ROWS_AT_ONCE
from kernels.blocks.reference import normalise
from kernels.blocks.thread_pool import ThreadPool
from kernels.eight_bit import Precision
from kernels.varlen.attention import attend_groups, rotations
from kernels.varlen.bounds import WIDEST
from kernels.varlen.fold import FoldedBlock, fold
from kernels.varlen.reference import VarlenBlock
from kernels.varlen.sequence import PackedSequence, Segments
from kernels.varlen.together import Together, Way


class VarlenBlocks:
    """The blocks of one tower, with copies of their weights in `dtype` on `device`; used by one thread at a time.

    `whole` are the numbers of the layers that see the whole image; the others see windows. `stops` are the numbers of
    the layers after which `stages` hands over what there is. `way` says how all tokens go through the layers together;
    None: each thread takes segments through all layers by itself. By default the latter on a CPU.
    """

    def __init__(
        self,
        blocks: Sequence[VarlenBlock],
        whole: Collection[int],
        dtype: torch.dtype,
        device: torch.device | str,
        *,
        stops: Collection[int] = (),
        way: Way | None = None,
        precision: Precision = "full",
    ) -> None:
        place = torch.device(device)
        self._way = Way() if way is None and place.type != "cpu" else way
        with torch.inference_mode():
            between = None if self._way is None else self._way.between
            self._blocks = [fold(block, dtype, place, precision, between) for block in blocks]
        self._width = blocks[0].width
        if self._way is not None and self._way.one_call and (self._width % 8 or self._width > WIDEST):
            raise BackendUnavailable(
                f"attention 'varlen' takes heads of a multiple of 8 up to {WIDEST} numbers, and these have "
                f"{self._width}: choose another"
            )
        ends = [0, *(stop + 1 for stop in sorted(stops)), len(blocks)]
        self._stages = [
            [
                (sees_all, [self._blocks[number] for number in numbers])
                for sees_all, numbers in groupby(range(first, last), lambda number: number in whole)
            ]
            for first, last in pairwise(ends)
        ]
        """Per stage the layers that follow each other and see alike: (whether the whole image, layers)."""
        self._threads: ThreadPool | None = None

    def __call__(self, hidden: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
        """[tokens, hidden], contiguous, in the dtype of the weights: changed in place, and returned."""
        for _ in self.stages(hidden, sequence):
            pass
        return hidden

    @torch.inference_mode()
    def stages(self, hidden: torch.Tensor, sequence: PackedSequence) -> Iterator[torch.Tensor]:
        """The same, handed over after each layer of `stops`, in their order, and at the end: always `hidden` itself,
        which the layers that follow change."""
        if self._way is None:
            rope = rotations(sequence.positions, self._width)
            for runs in self._stages:
                for sees_all, blocks in runs:
                    groups = sequence.images if sees_all else sequence.windows
                    self._by_threads(hidden, blocks, groups, rope)
                yield hidden
            return
        together = Together(self._way, sequence, self._width)
        for runs in self._stages:
            together.through(hidden, [(sees_all, block) for sees_all, blocks in runs for block in blocks])
            yield hidden

    def _by_threads(
        self,
        hidden: torch.Tensor,
        blocks: Sequence[FoldedBlock],
        groups: Sequence[Segments],
        rope: torch.Tensor,
    ) -> None:
        threads = torch.get_num_threads()
        shares = sorted(_shares(groups, threads), key=lambda share: share.tokens, reverse=True)
        through = partial(_through, hidden, blocks, rope)
        # one that is more than a thread's share would keep the others waiting: all work on it together
        shared = [share for share in shares if share.tokens * threads > len(hidden) + threads]
        own = shares[len(shared) :]
        if threads == 1 or len(own) < threads:
            shared, own = shares, []
        for share in shared:
            through(share)
        if own:
            if self._threads is None or self._threads.size != threads:
                self._threads = ThreadPool(threads)
            self._threads.each(through, own)


@dataclass(frozen=True, slots=True)
class _Share:
    """Tokens that see none but each other."""

    rows: slice | torch.Tensor
    groups: tuple[Segments, ...]
    """of tokens as `rows` has them"""

    @property
    def tokens(self) -> int:
        return sum(group.tokens for group in self.groups)


def _shares(groups: Sequence[Segments], threads: int) -> Iterator[_Share]:
    """The groups in shares of some `ROWS_AT_ONCE` tokens, or of one thread's share where that is less."""
    tokens = sum(group.tokens for group in groups)
    rounds = -(-tokens // (ROWS_AT_ONCE * threads))
    size = -(-tokens // (rounds * threads))
    some: list[Segments] = []
    for group in groups:
        first = 0
        while first < group.count:
            room = size - sum(one.tokens for one in some)
            if some and room < group.length:
                yield _joined(some)
                some, room = [], size
            count = min(max(1, room // group.length), group.count - first)
            some.append(group.part(first, count))
            first += count
    yield _joined(some)


def _joined(groups: Sequence[Segments]) -> _Share:
    begins = accumulate((group.tokens for group in groups), initial=0)
    within = tuple(
        Segments(group.count, group.length, begin) for group, begin in zip(groups, begins, strict=False)
    )
    if all(
        group.index is None and group.begin == groups[0].begin + one.begin
        for group, one in zip(groups, within, strict=True)
    ):
        return _Share(slice(groups[0].begin, groups[-1].begin + groups[-1].tokens), within)
    return _Share(torch.cat([group.where for group in groups]), within)


@torch.inference_mode()
def _through(hidden: torch.Tensor, blocks: Sequence[FoldedBlock], rope: torch.Tensor, share: _Share) -> None:
    """One share of the tokens through all blocks."""
    part, rope_of_part = hidden[share.rows], rope[share.rows]
    for block in blocks:
        _run(part, block, share.groups, rope_of_part)
    if isinstance(share.rows, torch.Tensor):
        hidden[share.rows] = part


def _run(hidden: torch.Tensor, p: FoldedBlock, groups: Sequence[Segments], rope: torch.Tensor) -> None:
    """One block, in place."""
    qkv = p.qkv(normalise(hidden, p.norm_before, p.eps[0], p.norm))
    hidden += p.out(attend_groups(qkv, rope, groups, p.heads, p.scale))
    for rows in torch.split(hidden, ROWS_AT_ONCE):  # some at a time, for the cache
        rows += p.down(p.inner(normalise(rows, p.norm_after, p.eps[1], p.norm)))
