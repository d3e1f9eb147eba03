"""activation as one Triton kernel: a program reads a stretch of numbers, and of their gates, and writes it once.

All rows are one row of numbers to it, so that no lane is idle whatever their width is. `activated` is also the epilogue
of `kernels/project`. This is the only file here that imports triton.
"""
# a kernel's pointers have no Python type, and triton publishes no types for its decorator
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.activation.reference import Activation
from kernels.backend import BackendUnavailable

RUNTIME = ["rows"]
"""Integers that differ from call to call: no compilation of their own for 1 and for multiples of 16."""
CODES: dict[Activation, int] = {"gelu": 1, "gelu_tanh": 2, "quick_gelu": 3, "silu": 4}
"""Of `activated`, which also knows 0 for none and 5 for ReLU."""
BLOCK = 1024
"""Numbers of a program: eight for each of its threads, one load of 16 bytes in bf16."""
WARPS = 4


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    """In fp32, by number."""
    if ACTIVATION == 1:
        x = 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == 2:  # 1 + tanh(z) = 2 · sigmoid(2z)
        x = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    elif ACTIVATION == 3:
        x = x * tl.sigmoid(1.702 * x)
    elif ACTIVATION == 4:
        x = x * tl.sigmoid(x)
    elif ACTIVATION == 5:
        x = tl.maximum(x, 0.0)
    return x


@triton.jit(do_not_specialize=RUNTIME)
def activation_kernel(
    x,  # [rows, WIDTH], gated [rows, 2 · WIDTH]
    out,  # [rows, WIDTH], may be x where not gated
    rows,
    row_stride,
    out_stride,
    WIDTH: tl.constexpr,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # 64-bit from program to program, 32-bit within
    start = tl.program_id(0).to(tl.int64) * BLOCK
    first = start // WIDTH
    number = (start - first * WIDTH).to(tl.int32) + tl.arange(0, BLOCK)
    row = first + number // WIDTH
    column = number % WIDTH
    inside = row < rows
    place = x + row * row_stride + column
    y = activated(tl.load(place, mask=inside, other=0.0).to(tl.float32), ACTIVATION)
    if GATED:
        y *= tl.load(place + WIDTH, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * out_stride + column, y.to(out.dtype.element_ty), mask=inside)


def activate(x: torch.Tensor, kind: Activation, gated: bool, out: torch.Tensor) -> None:
    """Write into `out`, all already checked, in one launch on the current stream.

    Raises BackendUnavailable for bf16 in Triton's interpreter, which gets it wrong without a word.
    """
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:
        raise BackendUnavailable("backend 'triton': the interpreter gets bf16 wrong, use fp16 or fp32")
    if out.numel() == 0:
        return
    with torch.cuda.device_of(x):
        activation_kernel[(triton.cdiv(out.numel(), BLOCK),)](
            x,
            out,
            len(x),
            x.stride(0),
            out.stride(0),
            **constants(out.shape[1], kind, gated),
            num_warps=WARPS,
            enable_fp_fusion=True,
        )


def constants(width: int, kind: Activation, gated: bool) -> dict[str, int]:
    """What a compilation is for: the MLP of one tower."""
    return {"WIDTH": width, "GATED": int(gated), "ACTIVATION": CODES[kind], "BLOCK": BLOCK}
