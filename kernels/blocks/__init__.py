"""blocks: the transformer blocks of a vision tower on a CPU, with weights packed once for oneDNN.

`reference.py` says what a block computes, `layers.py` reads blocks from transformers' modules, `fold.py` is what is
worked out beforehand, `cpu.py` how it is done, `choice.py` when, `README.md` why, and what it is worth. `compiled.py`
leaves the blocks to `torch.compile`.
"""

from __future__ import annotations

from kernels.blocks.choice import BODIES, Body, choose_body
from kernels.blocks.compiled import compile_layers
from kernels.blocks.cpu import FusedBlocks
from kernels.blocks.gpu import KernelBlocks
from kernels.blocks.layers import UnsupportedLayer, read_layer
from kernels.blocks.reference import Block

__all__ = [
    "BODIES",
    "Block",
    "Body",
    "FusedBlocks",
    "KernelBlocks",
    "UnsupportedLayer",
    "choose_body",
    "compile_layers",
    "read_layer",
]
