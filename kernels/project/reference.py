"""What project computes, in plain torch: read this file first, all others are held against it.

A tower's last hidden states become soft tokens as LLaVA's, InternVL's and Qwen2.5-VL's projectors make them: leave
out the tokens in front, lay the patches of a row side by side, normalise, multiply, activate, multiply. Every step
is an operation of its own; in fp32 it is the specification, in bf16 the chain that the others must not be worse than.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from kernels.project.fold import FoldedProjector, Linear, Norm
from kernels.project.merge import Merge


def project(hidden: torch.Tensor, folded: FoldedProjector) -> torch.Tensor:
    """[tiles, skip + patches, hidden] → fp32 rows [tiles · rows of a tile, width]."""
    norm = folded.norm
    if norm is not None:
        bias = None if norm.bias is None else norm.bias.float()
        norm = Norm(norm.kind, norm.per, norm.weight.float(), bias, norm.eps)
    linears = [
        Linear(one.weight.float(), None if one.bias is None else one.bias.float()) for one in folded.linears
    ]
    return unfused(hidden.float(), linears, folded.activation, norm, folded.merge, folded.skip)


def unfused(
    hidden: torch.Tensor,
    linears: Sequence[Linear],
    activation: str,
    norm: Norm | None,
    merge: Merge,
    skip: int,
) -> torch.Tensor:
    """The chain, in the dtype of `hidden`; arguments as for `fold_projector`."""
    rows = gather(hidden, merge, skip)  # [tiles · rows, parts · hidden]
    if norm is not None:
        rows = normalise(rows.view(-1, norm.weight.numel()), norm).view(rows.shape)
    rows = F.linear(rows, linears[0].weight, linears[0].bias)
    for linear in linears[1:]:
        rows = F.linear(activate(rows, activation), linear.weight, linear.bias)
    return rows


def gather(hidden: torch.Tensor, merge: Merge, skip: int) -> torch.Tensor:
    """Lay the patches of each row side by side, by an index that is written out."""
    patches = hidden.shape[1] - skip
    index = [
        [skip + merge.patch(row, part, patches) for part in range(merge.parts)]
        for row in range(merge.rows(patches))
    ]
    return hidden[:, torch.tensor(index, device=hidden.device)].flatten(2).flatten(0, 1)


def normalise(rows: torch.Tensor, norm: Norm) -> torch.Tensor:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019) as transformers computes it: in fp32 or fp64."""
    precise = rows.to(torch.promote_types(rows.dtype, torch.float32))
    if norm.kind == "layer":
        precise = precise - precise.mean(-1, keepdim=True)
    scaled = precise * torch.rsqrt(precise.square().mean(-1, keepdim=True) + norm.eps)
    if norm.kind == "layer":
        scaled = scaled * norm.weight  # one rounding, behind the bias
        return (scaled if norm.bias is None else scaled + norm.bias).to(rows.dtype)
    scaled = scaled.to(rows.dtype) * norm.weight  # two, as Qwen2RMSNorm
    return scaled if norm.bias is None else scaled + norm.bias


def activate(rows: torch.Tensor, activation: str) -> torch.Tensor:
    """By the name that transformers' `ACT2FN` has for it."""
    if activation == "gelu":
        return F.gelu(rows)
    if activation == "gelu_pytorch_tanh":
        return F.gelu(rows, approximate="tanh")
    if activation == "quick_gelu":
        return rows * torch.sigmoid(1.702 * rows)
    return F.silu(rows) if activation == "silu" else F.relu(rows)
