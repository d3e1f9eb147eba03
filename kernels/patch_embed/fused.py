"""patch_embed as one Triton kernel: gather, centre, multiply on tensor cores, add class token, bias and positions.

One program makes a block of [tokens, hidden] of one tile, or of the patches of all tiles (`flat.py`). Tokens and
channels past the end repeat the last one and are not stored. The choices here are argued in README.md.
"""
# a kernel's pointers have no Python type, and triton publishes no types for its decorator
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl

from kernels.backend import BackendUnavailable, gpu
from kernels.patch_embed import configs, tuned
from kernels.patch_embed.configs import Config
from kernels.patch_embed.flat import flat_kernel
from kernels.patch_embed.fold import FoldedPatchEmbed
from kernels.patch_embed.product import multiply

RUNTIME = ["tokens", "offset_rows"]
"""Integers that differ from call to call: no compilation of their own for 1 and for multiples of 16."""


@triton.jit(do_not_specialize=RUNTIME)
def patch_embed_kernel(
    tiles,  # uint8 [tiles, height, width, 3]
    weight,  # [hidden, K padded]
    offset,  # fp32 [offset_rows, hidden]
    out,  # [tiles, tokens, hidden]
    tokens,
    offset_rows,
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
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    # hidden fastest: programs that run side by side read the same pixels, and the weights stay in the L2
    hidden_blocks = tl.cdiv(hidden, BLOCK_HIDDEN)
    token_blocks = tl.cdiv(tokens, BLOCK_TOKENS)
    program = tl.program_id(0)
    tile = (program // hidden_blocks // token_blocks).to(tl.int64)
    token = program // hidden_blocks % token_blocks * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    channel = program % hidden_blocks * BLOCK_HIDDEN + tl.arange(0, BLOCK_HIDDEN)

    # the class token reads the first patch; what it saw is dropped below
    patch = tl.maximum(tl.minimum(token, tokens - 1) - PREFIX, 0)
    corner = patch // COLUMNS * PATCH * line_stride + patch % COLUMNS * PATCH * PIXEL_STRIDE
    corners = (tiles + tile * tile_stride + corner)[:, None]  # [BLOCK_TOKENS, 1]
    weights = (weight + tl.minimum(channel, hidden - 1) * weight_stride)[None, :]  # [1, BLOCK_HIDDEN]

    acc = multiply(corners, weights, line_stride, PIXEL_STRIDE, PATCH, BLOCK_TOKENS, BLOCK_HIDDEN, BLOCK_K)
    inside = (token < tokens)[:, None] & (channel < hidden)[None, :]
    row = tl.minimum(token, offset_rows - 1)  # without positions the last row is every patch's
    if PREFIX:
        acc = tl.where((token < PREFIX)[:, None], 0.0, acc)
    acc += tl.load(offset + row[:, None] * hidden + channel[None, :], mask=inside, other=0.0)
    rows = out + tile * out_tile_stride + token[:, None] * out_token_stride
    tl.store(rows + channel[None, :], acc.to(out.dtype.element_ty), mask=inside)


def patch_embed(
    tiles: torch.Tensor, folded: FoldedPatchEmbed, out: torch.Tensor, config: Config | None = None
) -> None:
    """Write the tokens of `tiles` into `out`, both already checked, in one launch on the current stream.

    `config` is what a search tries; by default the committed tables say.

    Raises:
        ValueError: one tile, or the tokens of one tile, span 2 GiB or more (offsets within a tile are 32-bit).
        BackendUnavailable: bf16 in Triton's interpreter, which gets it wrong without a word (seen in 3.6 and 3.9).
    """
    if tiles.device.type == "cpu" and torch.bfloat16 in (folded.weight.dtype, out.dtype):
        raise BackendUnavailable("backend 'triton': the interpreter gets bf16 wrong, fold for fp16 or fp32")
    count, height, width, _ = tiles.shape
    tokens, hidden = out.shape[1:]
    tile_span = height * tiles.stride(1) + width * tiles.stride(2)
    if max(tile_span, tokens * max(out.stride(1), hidden)) >= 2**31:
        raise ValueError(f"tiles: {height}×{width} pixels span too much memory for one tile: split it")
    if count == 0:
        return
    tensor_cores = folded.weight.dtype != torch.float32
    if config is None and tensor_cores:
        config = _tuned(tiles.device, folded.patch_size, hidden, count * tokens)
    if config is None:
        config = configs.choose(*gpu(tiles.device), count, tokens, hidden, tensor_cores=tensor_cores)
    columns = width // folded.patch_size
    flat = config.flat and folded.patches is not None
    fixed = constants(folded.patch_size, tiles.stride(2), columns, folded.prefix, config)
    strides = folded.weight.stride(0), tiles.stride(0), tiles.stride(1), out.stride(0), out.stride(1)
    launch = {"num_warps": config.warps, "num_stages": config.stages, "enable_fp_fusion": True}
    grid = (configs.programs(config, count, tokens, hidden, folded.prefix if flat else None),)
    with torch.cuda.device_of(tiles):
        given = tiles, folded.weight, folded.offset, out
        if flat:
            flat_kernel[grid](*given, count, hidden, *strides, **fixed, PATCHES=folded.patches, **launch)
        else:
            patch_embed_kernel[grid](*given, tokens, len(folded.offset), hidden, *strides, **fixed, **launch)


def constants(
    patch_size: int, pixel_stride: int, columns: int, prefix: int, config: Config
) -> dict[str, int]:
    """What a compilation is for: a family's tiles have one width, so it has one compilation per block shape."""
    return {
        "PIXEL_STRIDE": pixel_stride,
        "PATCH": patch_size,
        "COLUMNS": columns,
        "PREFIX": prefix,
        "BLOCK_TOKENS": config.block_tokens,
        "BLOCK_HIDDEN": config.block_hidden,
        "BLOCK_K": config.block_k,
    }


@cache
def _tuned(device: torch.device, patch_size: int, hidden: int, tokens: int) -> Config | None:
    """What a search found for this GPU, if it did."""
    if device.type != "cuda":
        return None
    return tuned.find(tuned.load(), torch.cuda.get_device_name(device), patch_size, hidden, tokens)
