"""The product inside patch_embed's kernels: pixels gathered, centred and multiplied on tensor cores.

Nothing in its loop is masked: the caller's pointers all lie inside, and K past the end meets zero weights.
"""
# a kernel's pointers have no Python type, and triton publishes no types for its decorator
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def steps(k, line_stride, PIXEL_STRIDE: tl.constexpr, PATCH: tl.constexpr):
    """Bytes from a patch's first pixel to its k-th; adjacent k are adjacent bytes while the line lasts."""
    LINE: tl.constexpr = 3 * PATCH
    within = k % LINE
    if PIXEL_STRIDE != 3:
        within = within // 3 * PIXEL_STRIDE + within % 3
    return tl.minimum(k // LINE, PATCH - 1) * line_stride + within


@triton.jit
def multiply(
    corners,  # pointers [BLOCK_TOKENS, 1] to each patch's first pixel
    weights,  # pointers [1, BLOCK_HIDDEN] to each channel's first weight
    line_stride,
    PIXEL_STRIDE: tl.constexpr,
    PATCH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """fp32 [BLOCK_TOKENS, BLOCK_HIDDEN]: weights · (pixels − 128)."""
    acc = tl.zeros((BLOCK_TOKENS, BLOCK_HIDDEN), tl.float32)
    k = tl.arange(0, BLOCK_K)
    pixels = tl.load(corners + steps(k, line_stride, PIXEL_STRIDE, PATCH)[None, :])
    for _ in range(0, PATCH * PATCH * 3, BLOCK_K):
        w = tl.load(weights + k[:, None])  # [BLOCK_K, BLOCK_HIDDEN]
        # x − 128 is the byte with its top bit flipped; from int8 the cast is bit arithmetic, from uint8 a slow one
        x = (pixels ^ 128).to(tl.int8, bitcast=True).to(w.dtype)  # [BLOCK_TOKENS, BLOCK_K]
        # the next pixels fly during this product: their two-byte loads are too narrow for cp.async
        k += BLOCK_K
        pixels = tl.load(corners + steps(k, line_stride, PIXEL_STRIDE, PATCH)[None, :])
        acc = tl.dot(x, w, acc, input_precision="ieee")
    return acc
