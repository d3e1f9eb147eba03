"""rotary as one Triton kernel: a program reads a stretch of pairs, rotates it in registers and writes it back.

Queries and keys of all tokens are one row of numbers to it, so that no lane is idle whatever a head's width is. This is
the only file here that imports triton.
"""
# a kernel's pointers have no Python type, and triton publishes no types for its decorator
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from math import gcd

import torch
import triton
import triton.language as tl

from kernels.backend import BackendUnavailable

RUNTIME = ["tokens"]
"""Integers that differ from call to call: no compilation of their own for 1 and for multiples of 16."""
BLOCK = 1024
"""Numbers of a program: eight for each of its threads, one load of 16 bytes in bf16."""
WARPS = 4


@triton.jit(do_not_specialize=RUNTIME)
def rotary_kernel(
    qkv,  # [tokens, at least TURNED]
    rotations,  # fp32 [tokens, WIDTH], cos and sin of each pair next to each other
    tokens,
    token_stride,
    TURNED: tl.constexpr,
    WIDTH: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # 64-bit for the program, 32-bit within it
    start = tl.program_id(0).to(tl.int64) * BLOCK
    first = start // TURNED
    number = (start - first * TURNED).to(tl.int32) + tl.arange(0, BLOCK)
    token = first + number // TURNED
    column = number % TURNED
    inside = token < tokens
    place = qkv + token * token_stride + column
    x = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    # the compiler does not see that what lies within a head is as aligned as the head is wide
    within = tl.max_contiguous(tl.multiple_of(column % WIDTH, ALIGNED), ALIGNED)
    turn = tl.load(rotations + token * WIDTH + within, mask=inside, other=0.0)
    a, b = tl.split(tl.reshape(x, (BLOCK // 2, 2)))
    cos, sin = tl.split(tl.reshape(turn, (BLOCK // 2, 2)))
    rotated = tl.reshape(tl.join(a * cos - b * sin, b * cos + a * sin), (BLOCK,))
    tl.store(place, rotated.to(qkv.dtype.element_ty), mask=inside)


def rotary(qkv: torch.Tensor, rotations: torch.Tensor, heads: int) -> None:
    """In place, all already checked, in one launch on the current stream.

    Raises BackendUnavailable for bf16 in Triton's interpreter, which gets it wrong without a word.
    """
    if qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16:
        raise BackendUnavailable("backend 'triton': the interpreter gets bf16 wrong, use fp16 or fp32")
    tokens, columns = qkv.shape
    if qkv.numel() == 0:
        return
    turned = columns // 3 * 2
    with torch.cuda.device_of(qkv):
        rotary_kernel[(triton.cdiv(tokens * turned, BLOCK),)](
            qkv,
            torch.view_as_real(rotations),
            tokens,
            qkv.stride(0),
            **constants(heads, turned // (2 * heads)),
            num_warps=WARPS,
            enable_fp_fusion=True,
        )


def constants(heads: int, width: int) -> dict[str, int]:
    """What a compilation is for: the heads of one tower."""
    return {"TURNED": 2 * heads * width, "WIDTH": width, "ALIGNED": gcd(width, 8), "BLOCK": BLOCK}
