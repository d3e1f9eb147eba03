"""activation: what follows an MLP's first product, in one launch: three forms of GELU, or SiLU, with or without gate.

`reference.py` says what is computed, `fused.py` how it is done on a GPU; on a CPU torch's own are used, and `README.md`
says why.
"""

from __future__ import annotations

import torch

from kernels.activation import reference
from kernels.activation.reference import ACTIVATIONS, Activation
from kernels.backend import Backend, BackendUnavailable, choose_backend, require_backend

__all__ = ["ACTIVATIONS", "Activation", "Backend", "BackendUnavailable", "activate", "choose_backend"]

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def activate(
    x: torch.Tensor,
    kind: Activation,
    *,
    gated: bool = False,
    backend: Backend,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """activation(x), or of a product of gate and value side by side activation(gate) · value.

    Args:
        x: [rows, width], gated [rows, 2 · width], in bf16, fp16 or fp32; rows at any stride, columns adjacent.
        kind: one of `ACTIVATIONS`.
        gated: whether the first half of the columns is the gate of the second (GLU, Shazeer 2020).
        backend: of `choose_backend`.
        out: where to write, [rows, width] in the dtype and on the device of `x`, apart from it or, not gated, `x`
            itself; by default a new tensor.

    Returns:
        [rows, width]; `out` itself if it was given.

    Raises:
        ValueError: shapes, dtypes, strides, devices or the name do not fit.
        BackendUnavailable: the backend cannot run there; none is tried in its place.
    """
    require_backend(backend, x.device)
    width = _check(x, kind, gated, out)
    if backend == "triton":
        from kernels.activation import fused  # here, so that nothing but this backend needs triton

        out = x.new_empty(len(x), width) if out is None else out
        fused.activate(x, kind, gated, out)
        return out
    given = x if backend == "cpu" else x.float()
    made = reference.gated(given, kind) if gated else reference.activate(given, kind)
    return made.to(x.dtype) if out is None else out.copy_(made)


def _check(x: torch.Tensor, kind: str, gated: bool, out: torch.Tensor | None) -> int:
    """Columns of the result."""
    if kind not in ACTIVATIONS:
        raise ValueError(f"kind: got {kind!r}, allowed are {', '.join(map(repr, ACTIVATIONS))}")
    if x.dtype not in DTYPES or x.ndim != 2 or not _apart(x) or (gated and x.shape[1] % 2):
        raise ValueError(
            f"x: got {x.dtype} {list(x.shape)} with strides {list(x.stride())}, must be "
            f"[rows, {'2 · width' if gated else 'width'}] with adjacent columns in one of {', '.join(map(str, DTYPES))}"
        )
    width = x.shape[1] // 2 if gated else x.shape[1]
    if out is None:
        return width
    if (out.shape, out.dtype, out.device) != ((len(x), width), x.dtype, x.device) or not _apart(out):
        raise ValueError(
            f"out: got {out.dtype} {list(out.shape)} on {out.device} with strides {list(out.stride())}, must be "
            f"{x.dtype} {[len(x), width]} on {x.device} with adjacent columns"
        )
    return width


def _apart(x: torch.Tensor) -> bool:
    """Whether columns are adjacent and rows do not overlap."""
    return x.stride(1) == 1 and (len(x) < 2 or x.stride(0) >= x.shape[1])
