"""patch_embed with the patches of all tiles numbered through, so that no block is partly empty but the last.

The class tokens, which see no pixels, are written by programs behind those of the patches, in the same launch. For
layers with positions: how many patches a tile has is a constant then, and dividing by it costs little.
"""
# a kernel's pointers have no Python type, and triton publishes no types for its decorator
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from kernels.patch_embed.product import multiply

RUNTIME = ["count"]
"""Integers that differ from call to call: no compilation of their own for 1 and for multiples of 16."""


@triton.jit
def write_prefix(block, channel, offset, out, count, hidden, out_tile_stride, BLOCK_TOKENS: tl.constexpr):
    """The class tokens of BLOCK_TOKENS tiles: the first row of `offset`."""
    tile = block * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    row = tl.load(offset + channel, mask=channel < hidden, other=0.0)
    place = out + tile.to(tl.int64)[:, None] * out_tile_stride + channel[None, :]
    inside = (tile < count)[:, None] & (channel < hidden)[None, :]
    tl.store(place, tl.broadcast_to(row[None, :], inside.shape).to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=RUNTIME)
def flat_kernel(
    tiles,  # uint8 [count, height, width, 3]
    weight,  # [hidden, K padded]
    offset,  # fp32 [PREFIX + PATCHES, hidden]
    out,  # [count, PREFIX + PATCHES, hidden]
    count,
    hidden,
    weight_stride,
    tile_stride,
    line_stride,
    out_tile_stride,
    out_token_stride,
    PIXEL_STRIDE: tl.constexpr,
    PATCH: tl.constexpr,
    COLUMNS: tl.constexpr,
    PREFIX: tl.constexpr,
    PATCHES: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    hidden_blocks = tl.cdiv(hidden, BLOCK_HIDDEN)
    block = tl.program_id(0) // hidden_blocks
    channel = tl.program_id(0) % hidden_blocks * BLOCK_HIDDEN + tl.arange(0, BLOCK_HIDDEN)
    patches = count * PATCHES
    if PREFIX:
        patch_blocks = tl.cdiv(patches, BLOCK_TOKENS)
        if block >= patch_blocks:
            behind = block - patch_blocks
            write_prefix(behind, channel, offset, out, count, hidden, out_tile_stride, BLOCK_TOKENS)
            return

    number = block * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    known = tl.minimum(number, patches - 1)
    tile, patch = (known // PATCHES).to(tl.int64), known % PATCHES
    corner = patch // COLUMNS * PATCH * line_stride + patch % COLUMNS * PATCH * PIXEL_STRIDE
    corners = (tiles + tile * tile_stride + corner)[:, None]  # [BLOCK_TOKENS, 1]
    weights = (weight + tl.minimum(channel, hidden - 1) * weight_stride)[None, :]  # [1, BLOCK_HIDDEN]
    acc = multiply(corners, weights, line_stride, PIXEL_STRIDE, PATCH, BLOCK_TOKENS, BLOCK_HIDDEN, BLOCK_K)

    inside = (number < patches)[:, None] & (channel < hidden)[None, :]
    token = PREFIX + patch
    acc += tl.load(offset + token[:, None] * hidden + channel[None, :], mask=inside, other=0.0)
    rows = out + (tile * out_tile_stride)[:, None] + token[:, None] * out_token_stride
    tl.store(rows + channel[None, :], acc.to(out.dtype.element_ty), mask=inside)
