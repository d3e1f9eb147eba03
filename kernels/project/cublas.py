"""project on a GPU by way of cuBLAS: gather and normalise first, then products with their epilogues.

For many rows, where a library's product is faster than ours by more than the gather costs; `configs.py` says where.
cuBLAS adds the bias in its epilogue and knows ReLU and the tanh form of GELU there, but not the exact GELU. Plain
torch operations, right on any device.
"""

from __future__ import annotations

import torch

from kernels.project.fold import FoldedProjector, Linear
from kernels.project.gathered import normalised_rows
from kernels.project.reference import activate
from kernels.project.scatter import ScatterIndex


def project(
    hidden: torch.Tensor, folded: FoldedProjector, out: torch.Tensor, scatter: ScatterIndex | None
) -> None:
    """Write the rows of `hidden` into `out`, all already checked."""
    rows = normalised_rows(hidden, folded)
    *before, last = folded.linears
    for linear in before:
        rows = _activated(rows, linear, folded.activation)
    if scatter is None and out.dtype == rows.dtype:
        _product(rows, last, out)
        return
    product = _product(rows, last, rows.new_empty(len(rows), folded.width)).to(out.dtype)
    if scatter is None:
        out.copy_(product)
    else:
        out.index_copy_(0, scatter.rows, product)


def _activated(rows: torch.Tensor, linear: Linear, activation: str) -> torch.Tensor:
    # what torch calls GELU here is the tanh form on CUDA and the exact one elsewhere
    if linear.bias is not None and (
        activation == "relu" or (activation == "gelu_pytorch_tanh" and rows.is_cuda)
    ):
        gelu = activation != "relu"
        return torch._addmm_activation(linear.bias, rows, linear.weight.T, use_gelu=gelu)
    return activate(_product(rows, linear, rows.new_empty(len(rows), len(linear.weight))), activation)


def _product(rows: torch.Tensor, linear: Linear, out: torch.Tensor) -> torch.Tensor:
    if linear.bias is None:
        return torch.mm(rows, linear.weight.T, out=out)
    return torch.addmm(linear.bias, rows, linear.weight.T, out=out)
