"""varlen: the transformer blocks of a native-resolution tower, images of any sizes packed in one sequence.

`sequence.py` orders the tokens and says who sees whom, `positions.py` resamples a table of positions, `reference.py`
says what a block computes, `layers.py` reads blocks from transformers' modules, `fold.py` is what is worked out
beforehand, `attention.py` and `blocks.py` are how it is done, on a GPU and on a CPU, `README.md` why, and what it is
worth.
"""

from __future__ import annotations

from kernels.varlen.blocks import VarlenBlocks
from kernels.varlen.choice import choose_body
from kernels.varlen.layers import read_layer
from kernels.varlen.positions import resample
from kernels.varlen.reference import VarlenBlock
from kernels.varlen.sequence import Grid, PackedSequence, Segments, pack

__all__ = [
    "PackedSequence",
    "Grid",
    "Segments",
    "VarlenBlock",
    "VarlenBlocks",
    "pack",
    "choose_body",
    "read_layer",
    "resample",
]
