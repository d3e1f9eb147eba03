"""ragged: the transformer blocks of a native-resolution tower, images of any sizes packed in one sequence.

`arrangement.py` orders the tokens and says who sees whom, `reference.py` says what a block computes, `layers.py` reads
blocks from transformers' modules, `fold.py` is what is worked out beforehand, `attention.py` and `blocks.py` are how it
is done, on a GPU and on a CPU, `README.md` why, and what it is worth.
"""

from __future__ import annotations

from kernels.ragged.arrangement import Arrangement, Grid, Group, arrange
from kernels.ragged.blocks import RaggedBlocks
from kernels.ragged.choice import choose_body
from kernels.ragged.layers import read_layer
from kernels.ragged.reference import RaggedBlock

__all__ = [
    "Arrangement",
    "Grid",
    "Group",
    "RaggedBlock",
    "RaggedBlocks",
    "arrange",
    "choose_body",
    "read_layer",
]
