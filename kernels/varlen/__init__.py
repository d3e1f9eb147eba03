"""varlen: the transformer blocks of a native-resolution tower, images of any sizes packed in one sequence.

`sequence.py` orders the tokens and says who sees whom, `positions.py` resamples a table of positions, `reference.py`
says what a block computes, `layers.py` reads blocks from transformers' modules, `fold.py` is what is worked out
beforehand; `blocks.py`, `together.py`, `attention.py` and `bounds.py` are how it is done, on a GPU and on a CPU, and
`README.md` says why, and what it is worth.
"""

from __future__ import annotations

from kernels.varlen.blocks import VarlenBlocks
from kernels.varlen.choice import choose_body
from kernels.varlen.layers import read_layer
from kernels.varlen.positions import resample
from kernels.varlen.reference import VarlenBlock
from kernels.varlen.sequence import Grid, PackedSequence, Segments, pack
from kernels.varlen.together import Way, choose_way

__all__ = [
    "PackedSequence",
    "Grid",
    "Segments",
    "VarlenBlock",
    "VarlenBlocks",
    "Way",
    "pack",
    "choose_body",
    "choose_way",
    "read_layer",
    "resample",
]
