"""layer_norm as one Triton kernel: a program reads one token into registers once, and writes it once.

This is the only file here that imports triton.
"""
# a kernel's pointers have no Python type, and triton publishes no types for its decorator
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.backend import BackendUnavailable

RUNTIME = ["tokens"]
"""Integers that differ from call to call: no compilation of their own for 1 and for multiples of 16."""


@triton.jit(do_not_specialize=RUNTIME)
def layer_norm_kernel(
    hidden,  # [tiles, tokens, HIDDEN]
    weight,  # [HIDDEN]
    bias,  # [HIDDEN]
    out,  # [tiles, tokens, HIDDEN], may be hidden
    tokens,
    tile_stride,
    token_stride,
    out_tile_stride,
    out_token_stride,
    eps,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    tile, token = (row // tokens).to(tl.int64), (row % tokens).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    inside = channel < HIDDEN
    x = tl.load(hidden + tile * tile_stride + token * token_stride + channel, mask=inside, other=0.0)
    x = x.to(tl.float32)
    # the variance from what is centred: E[x²] − E[x]² cancels where the mean is large
    centred = tl.where(inside, x - tl.sum(x, 0) / HIDDEN, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 0) / HIDDEN + eps)
    w = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
    y = centred * scale * w + b
    place = out + tile * out_tile_stride + token * out_token_stride + channel
    tl.store(place, y.to(out.dtype.element_ty), mask=inside)


def layer_norm(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, out: torch.Tensor
) -> None:
    """Write the normalised tokens into `out`, all already checked, in one launch on the current stream.

    Raises BackendUnavailable for bf16 in Triton's interpreter, which gets it wrong without a word.
    """
    if hidden.device.type == "cpu" and torch.bfloat16 in (hidden.dtype, weight.dtype):
        raise BackendUnavailable("backend 'triton': the interpreter gets bf16 wrong, use fp16 or fp32")
    tiles, tokens, width = hidden.shape
    if hidden.numel() == 0:
        return
    block = triton.next_power_of_2(width)
    with torch.cuda.device_of(hidden):
        layer_norm_kernel[(tiles * tokens,)](
            hidden,
            weight,
            bias,
            out,
            tokens,
            hidden.stride(0),
            hidden.stride(1),
            out.stride(0),
            out.stride(1),
            eps,
            HIDDEN=width,
            BLOCK=block,
            num_warps=warps(block),
            enable_fp_fusion=True,
        )


def warps(block: int) -> int:
    """Eight numbers for a thread: one load of 16 bytes in bf16."""
    return min(max(block // 256, 1), 16)
