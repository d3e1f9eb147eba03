"""The blocks on a CPU: four products with packed weights, and attention as two more.

Each thread takes its share of the images through all blocks, so that none waits for another after every operation; what
cannot be shared evenly is done by all of torch's threads together. A few images go through at a time, so that their
activations stay in the cache and memory is asked for in amounts that the allocator keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from kernels.blocks.fold import PackedBlock, pack
from kernels.blocks.reference import Block
from kernels.blocks.thread_pool import ThreadPool
from kernels.eight_bit import Precision

ROWS_AT_ONCE = 1024
"""Tokens that go through the blocks together: enough for products at full speed, few enough for the cache."""
SCORES_BYTES = 2**20
"""Attention scores that are made, normalised and used before the next are made: a core's second cache."""


class FusedBlocks:
    """The blocks of one tower, with copies of their weights in `dtype`, or those of linear layers in int8; used by one
    thread at a time.

    The caller has asked `choose_body` and `choose_precision` whether this machine can do it.
    """

    def __init__(self, blocks: Sequence[Block], dtype: torch.dtype, precision: Precision = "full") -> None:
        with torch.inference_mode():
            self._blocks = [pack(block, dtype, precision) for block in blocks]
        self._threads: ThreadPool | None = None

    @torch.inference_mode()
    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """[images, tokens, hidden], contiguous, in the dtype of the weights: changed in place, and returned."""
        threads = torch.get_num_threads()
        apart = len(hidden) // threads * threads if threads > 1 else 0
        if apart:
            if self._threads is None or self._threads.size != threads:
                self._threads = ThreadPool(threads)
            self._threads.each(self._through, hidden[:apart].chunk(threads))
        self._through(hidden[apart:])
        return hidden

    @torch.inference_mode()
    def _through(self, hidden: torch.Tensor) -> None:
        if not len(hidden):
            return
        together = max(1, ROWS_AT_ONCE // hidden.shape[1])
        for images in torch.split(hidden, together):
            for block in self._blocks:
                _run(images, block)


def _run(hidden: torch.Tensor, p: PackedBlock) -> None:
    width = hidden.shape[-1:]
    normed = F.layer_norm(hidden, width, p.norm_before.weight, p.norm_before.bias, p.eps[0])
    hidden += p.out(_attention(p.qkv(normed), p.heads, p.scale))
    normed = F.layer_norm(hidden, width, p.norm_after.weight, p.norm_after.bias, p.eps[1])
    hidden += p.down(p.up(normed))


def _attention(qkv: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """[images, tokens, 3 · hidden] → [images, tokens, hidden]."""
    images, tokens, _ = qkv.shape
    apart = qkv.view(images, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).contiguous()
    query, key, value = apart.view(3, images * heads, tokens, -1)
    seen = attend(query, key, value, scale)
    return seen.view(images, heads, tokens, -1).transpose(1, 2).reshape(images, tokens, -1)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention of [heads, tokens, width], contiguous, each head by itself: the same of `value`.

    Scores are rounded to the dtype of the products, as in transformers' eager attention; softmax adds in fp32.
    """
    heads, tokens, _ = query.shape
    seen = torch.empty_like(value)
    step = _heads_together(tokens, query.itemsize, heads)
    room = query.new_empty(step, tokens, tokens)
    for begin in range(0, heads, step):
        some = slice(begin, begin + step)
        scores = room[: len(value[some])]
        # beta 0: what lies in `scores` is not read
        torch.baddbmm(scores, query[some], key[some].transpose(1, 2), beta=0, alpha=scale, out=scores)
        torch.bmm(torch.softmax(scores, -1), value[some], out=seen[some])
    return seen


def _heads_together(tokens: int, itemsize: int, heads: int) -> int:
    """How many heads' scores are made at once: as many as the cache holds, and one a thread at least."""
    threads = torch.get_num_threads()
    fit = SCORES_BYTES // (tokens * tokens * itemsize)
    return min(heads, max(threads, fit // threads * threads))
