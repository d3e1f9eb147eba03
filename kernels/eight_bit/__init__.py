"""eight_bit: linear layers in 8 bits, activations scaled row by row as they come, weights channel by channel.

`reference.py` says what a layer computes, `int8.py` is how it is done on a CPU, `fp8.py` on a GPU, `modules.py` puts it
in place of a model's own linear layers, `choice.py` says when it can run, `README.md` why, and what it is worth.
"""

from __future__ import annotations

from kernels.eight_bit.choice import PRECISIONS, Precision, choose_precision
from kernels.eight_bit.fp8 import CannotQuantise, Fp8Linear, pack_fp8
from kernels.eight_bit.int8 import Int8Linear, pack_int8
from kernels.eight_bit.modules import quantise_linears

__all__ = [
    "PRECISIONS",
    "CannotQuantise",
    "Fp8Linear",
    "Int8Linear",
    "Precision",
    "choose_precision",
    "pack_fp8",
    "pack_int8",
    "quantise_linears",
]
