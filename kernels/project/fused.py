"""project as Triton kernels: a product that gathers in its load, and one for the statistics of its rows.

One program makes a block of [rows, width]. Nothing in its loop is masked: rows and channels past the end repeat the
last one and are not stored, columns past a patch's end meet zero weights. The choices here are argued in README.md.
This is the only file here that imports triton.
"""
# a kernel's pointers have no Python type, and triton publishes no types for its decorator
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.activation.fused import activated
from kernels.backend import BackendUnavailable, gpu
from kernels.project import configs
from kernels.project.configs import Config
from kernels.project.fold import ALIGNMENT, FoldedProjector, Product
from kernels.project.scatter import ScatterIndex

RUNTIME = ["rows", "tile_rows"]
"""Integers that differ from call to call: no compilation of their own for 1 and for multiples of 16."""
CODES = {None: 0, "gelu": 1, "gelu_pytorch_tanh": 2, "quick_gelu": 3, "silu": 4, "relu": 5}
"""Of `activated`."""


@triton.jit
def first_patches(
    row,
    tile_rows,
    tile_stride,
    token_stride,
    SKIP: tl.constexpr,
    FACTOR: tl.constexpr,
    SIDE: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Elements from the first hidden state to the first patch of each row, 64-bit."""
    tile, within = row // tile_rows, row % tile_rows
    patch = within * PARTS
    if SIDE:
        patch = within // (SIDE // FACTOR) * (FACTOR * SIDE) + within % (SIDE // FACTOR) * FACTOR
    return tile.to(tl.int64) * tile_stride + (SKIP + patch).to(tl.int64) * token_stride


@triton.jit
def patches_on(part, FACTOR: tl.constexpr, SIDE: tl.constexpr):
    """Patches from a row's first to its `part`-th: the same in every row."""
    if SIDE:
        part = part // FACTOR * SIDE + part % FACTOR
    return part


@triton.jit(do_not_specialize=["tile_rows"])
def statistics_kernel(
    hidden,  # [tiles, skip + patches, HIDDEN]
    statistics,  # fp32 [rows, GROUPS, 2]: mean and 1/std
    tile_rows,
    tile_stride,
    token_stride,
    eps,
    SKIP: tl.constexpr,
    FACTOR: tl.constexpr,
    SIDE: tl.constexpr,
    PARTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    GROUPS: tl.constexpr,
    CENTRED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    COUNT: tl.constexpr = PARTS * HIDDEN // GROUPS
    program = tl.program_id(0)
    row, group = program // GROUPS, program % GROUPS
    k = tl.arange(0, BLOCK)
    part = group * (PARTS // GROUPS) + k // HIDDEN
    first = first_patches(row, tile_rows, tile_stride, token_stride, SKIP, FACTOR, SIDE, PARTS)
    inside = k < COUNT
    steps = patches_on(part, FACTOR, SIDE) * token_stride + k % HIDDEN
    x = tl.load(hidden + first + steps, mask=inside, other=0.0).to(tl.float32)  # [BLOCK]
    mean = tl.sum(x) / COUNT if CENTRED else 0.0
    apart = tl.where(inside, x - mean, 0.0)
    place = statistics + program.to(tl.int64) * 2
    tl.store(place, mean)
    tl.store(place + 1, 1 / tl.sqrt(tl.sum(apart * apart) / COUNT + eps))


@triton.jit(do_not_specialize=RUNTIME)
def product_kernel(
    hidden,  # [tiles, SKIP + patches, HIDDEN]
    weight,  # [width, PARTS · PADDED]
    bias,  # fp32 [width]
    sums,  # fp32 [GROUPS, width]
    statistics,  # fp32 [rows, GROUPS, 2]
    scatter,  # int64 [rows]
    out,  # [at least rows, width]
    rows,
    tile_rows,
    width,
    weight_stride,
    tile_stride,
    token_stride,
    out_stride,
    SKIP: tl.constexpr,
    FACTOR: tl.constexpr,
    SIDE: tl.constexpr,
    PARTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    PADDED: tl.constexpr,
    GROUPS: tl.constexpr,
    NORMED: tl.constexpr,
    CENTRED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SCATTERED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    # programs that run side by side share rows and weights in the L2
    row_blocks, width_blocks = tl.cdiv(rows, BLOCK_ROWS), tl.cdiv(width, BLOCK_WIDTH)
    program = tl.program_id(0)
    band = program // (GROUP_M * width_blocks) * GROUP_M
    height = tl.minimum(row_blocks - band, GROUP_M)
    row = (band + program % (GROUP_M * width_blocks) % height) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    channel = program % (GROUP_M * width_blocks) // height * BLOCK_WIDTH + tl.arange(0, BLOCK_WIDTH)
    stored = (row < rows)[:, None] & (channel < width)[None, :]
    known = tl.minimum(row, rows - 1)

    first = first_patches(known, tile_rows, tile_stride, token_stride, SKIP, FACTOR, SIDE, PARTS)
    firsts = (hidden + first)[:, None]  # [BLOCK_ROWS, 1]
    weights = (weight + tl.minimum(channel, width - 1).to(tl.int64) * weight_stride)[
        None, :
    ]  # [1, BLOCK_WIDTH]
    step = tl.arange(0, BLOCK_K)

    acc = tl.zeros((BLOCK_ROWS, BLOCK_WIDTH), tl.float32)
    scale = tl.full((BLOCK_ROWS,), 1.0, tl.float32)
    for group in range(GROUPS):
        if NORMED:
            own = statistics + (known.to(tl.int64) * GROUPS + group) * 2
            before, scale = scale, tl.load(own + 1)
            if GROUPS > 1:  # what was summed so far is divided by this group's scale at the end, too
                acc *= (before / scale)[:, None]
        for start in range(
            group * (PARTS * PADDED // GROUPS), (group + 1) * (PARTS * PADDED // GROUPS), BLOCK_K
        ):
            column = start % PADDED + step
            if HIDDEN != PADDED:
                column = tl.minimum(column, HIDDEN - 1)
            gap = patches_on(start // PADDED, FACTOR, SIDE) * token_stride
            x = tl.load(firsts + (gap + column)[None, :])  # [BLOCK_ROWS, BLOCK_K]
            w = tl.load(weights + start + step[:, None])  # [BLOCK_K, BLOCK_WIDTH]
            acc = tl.dot(x, w, acc, input_precision="ieee")
        if CENTRED:
            total = tl.load(sums + group * width + channel, mask=channel < width, other=0.0)
            acc -= tl.load(own)[:, None] * total[None, :]

    constant = tl.load(bias + channel, mask=channel < width, other=0.0)
    acc = activated(acc * scale[:, None] + constant[None, :], ACTIVATION)
    place = row.to(tl.int64)
    if SCATTERED:
        place = tl.load(scatter + known)
    tl.store(out + place[:, None] * out_stride + channel[None, :], acc.to(out.dtype.element_ty), mask=stored)


def project(
    hidden: torch.Tensor, folded: FoldedProjector, out: torch.Tensor, scatter: ScatterIndex | None
) -> None:
    """Write the rows of `hidden` into `out`, all already checked, in two or three launches on the current stream.

    Raises:
        ValueError: the patches of one row span 2 GiB or more (offsets within a row are 32-bit).
        BackendUnavailable: bf16 in Triton's interpreter, which gets it wrong without a word (seen in 3.6 and 3.9).
    """
    if hidden.device.type == "cpu" and torch.bfloat16 in (folded.linears[0].weight.dtype, folded.dtype):
        raise BackendUnavailable("backend 'triton': the interpreter gets bf16 wrong, fold for fp16 or fp32")
    patches = hidden.shape[1] - folded.skip
    span = folded.merge.factor * max(folded.merge.side(patches), folded.merge.factor) * hidden.stride(1)
    if span >= 2**31:
        raise ValueError(f"hidden: got strides {list(hidden.stride())}, a row's patches lie too far apart")
    tile_rows = folded.merge.rows(patches)
    rows = len(hidden) * tile_rows
    if rows == 0:
        return
    gather = {
        "SKIP": folded.skip,
        "FACTOR": folded.merge.factor,
        "SIDE": folded.merge.side(patches),
        "PARTS": folded.merge.parts,
        "HIDDEN": folded.hidden,
    }
    with torch.cuda.device_of(hidden):
        statistics = _statistics(hidden, folded, rows, tile_rows, gather)
        activation = folded.activation if len(folded.products) == 2 else None
        last = len(folded.products) == 1
        first = out if last else hidden.new_empty(rows, len(folded.products[0].weight))
        _launch(
            hidden,
            folded.products[0],
            statistics,
            first,
            scatter if last else None,
            rows,
            tile_rows,
            {**gather, **_norm_constants(folded), "ACTIVATION": CODES[activation]},
        )
        if not last:
            plain = {"SKIP": 0, "FACTOR": 1, "SIDE": 0, "PARTS": 1, "HIDDEN": first.shape[1], **NO_NORM}
            _launch(
                first[None], folded.products[1], None, out, scatter, rows, rows, {**plain, "ACTIVATION": 0}
            )


NO_NORM = {"GROUPS": 1, "NORMED": 0, "CENTRED": 0}


def _norm_constants(folded: FoldedProjector) -> dict[str, int]:
    if folded.norm is None:
        return NO_NORM
    return {"GROUPS": folded.groups, "NORMED": 1, "CENTRED": int(folded.norm.kind == "layer")}


def _statistics(
    hidden: torch.Tensor, folded: FoldedProjector, rows: int, tile_rows: int, gather: dict[str, int]
) -> torch.Tensor | None:
    """fp32 [rows, groups, 2], mean and 1/std of what is normalised together; None without a norm."""
    if folded.norm is None:
        return None
    constants = _norm_constants(folded)
    groups = constants["GROUPS"]
    statistics = torch.empty(rows, groups, 2, device=hidden.device)
    block = triton.next_power_of_2(folded.merge.parts * folded.hidden // groups)
    statistics_kernel[(rows * groups,)](
        hidden,
        statistics,
        tile_rows,
        hidden.stride(0),
        hidden.stride(1),
        folded.norm.eps,
        **gather,
        GROUPS=groups,
        CENTRED=constants["CENTRED"],
        BLOCK=block,
        num_warps=statistics_warps(block),
        enable_fp_fusion=True,
    )
    return statistics


def statistics_warps(block: int) -> int:
    """At most 32 numbers for a thread."""
    return min(max(block // 1024, 1), 16)


def _launch(
    x: torch.Tensor,  # [tiles, tokens, hidden]
    product: Product,
    statistics: torch.Tensor | None,
    out: torch.Tensor,
    scatter: ScatterIndex | None,
    rows: int,
    tile_rows: int,
    fixed: dict[str, int],
) -> None:
    width = len(product.weight)
    capability, processors = gpu(x.device)
    choice = configs.entry(capability, tensor_cores=product.weight.dtype != torch.float32)
    config = configs.choose(choice, processors, rows, width)
    product_kernel[(configs.programs(config, rows, width),)](
        x,
        product.weight,
        product.bias,
        product.sums,
        product.bias if statistics is None else statistics,  # never read
        product.bias if scatter is None else scatter.rows,  # never read
        out,
        rows,
        tile_rows,
        width,
        product.weight.stride(0),
        x.stride(0),
        x.stride(1),
        out.stride(0),
        **fixed,
        **constants(fixed["HIDDEN"], config),
        SCATTERED=int(scatter is not None),
        num_warps=config.warps,
        num_stages=config.stages,
        enable_fp_fusion=True,
    )


def constants(hidden: int, config: Config) -> dict[str, int]:
    """What a compilation is for, beside the layer and the grid of its family."""
    return {
        "PADDED": hidden + -hidden % ALIGNMENT,
        "BLOCK_ROWS": config.block_rows,
        "BLOCK_WIDTH": config.block_width,
        "BLOCK_K": config.block_k,
        "GROUP_M": 8,
    }
