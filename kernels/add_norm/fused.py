"""add_norm as one Triton kernel: a program reads one token and what is added to it once, and writes sum and norm once.

This is the only file here that imports triton.
"""
# a kernel's pointers have no Python type, and triton publishes no types for its decorator
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.add_norm.reference import NormKind
from kernels.backend import BackendUnavailable


@triton.jit
def add_norm_kernel(
    hidden,  # [tokens, HIDDEN], becomes the sum
    update,  # [tokens, HIDDEN]
    weight,  # [HIDDEN]
    bias,  # [HIDDEN]
    normed,  # [tokens, HIDDEN], contiguous
    token_stride,
    update_stride,
    eps,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
    CENTRED: tl.constexpr,
    BIASED: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    inside = channel < HIDDEN
    place = hidden + token * token_stride + channel
    x = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    x += tl.load(update + token * update_stride + channel, mask=inside, other=0.0).to(tl.float32)
    tl.store(place, x.to(hidden.dtype.element_ty), mask=inside)
    if CENTRED:  # E[x²] − E[x]² cancels where the mean is large
        x = tl.where(inside, x - tl.sum(x, 0) / HIDDEN, 0.0)
    y = x * tl.rsqrt(tl.sum(x * x, 0) / HIDDEN + eps)
    y *= tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        y += tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + token * HIDDEN + channel, y.to(normed.dtype.element_ty), mask=inside)


def add_norm(
    hidden: torch.Tensor,
    update: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    kind: NormKind,
    normed: torch.Tensor,
) -> None:
    """Write the sum into `hidden` and its norm into `normed`, all already checked, in one launch on the current stream.

    Raises BackendUnavailable for bf16 in Triton's interpreter, which gets it wrong without a word.
    """
    if hidden.device.type == "cpu" and torch.bfloat16 in (hidden.dtype, weight.dtype):
        raise BackendUnavailable("backend 'triton': the interpreter gets bf16 wrong, use fp16 or fp32")
    tokens, width = hidden.shape
    if hidden.numel() == 0:
        return
    with torch.cuda.device_of(hidden):
        add_norm_kernel[(tokens,)](
            hidden,
            update,
            weight,
            weight if bias is None else bias,  # never read
            normed,
            hidden.stride(0),
            update.stride(0),
            eps,
            **constants(width, kind, bias is not None),
            num_warps=warps(width),
            enable_fp_fusion=True,
        )


def constants(width: int, kind: NormKind, biased: bool) -> dict[str, int]:
    """What a compilation is for: the norms of one tower."""
    return {
        "HIDDEN": width,
        "BLOCK": triton.next_power_of_2(width),
        "CENTRED": int(kind == "layer"),
        "BIASED": int(biased),
    }


def warps(width: int) -> int:
    """Eight numbers for a thread: one load of 16 bytes in bf16."""
    block: int = triton.next_power_of_2(width)
    return min(max(block // 256, 1), 16)
