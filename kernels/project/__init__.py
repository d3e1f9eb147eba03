"""project: a vision tower's last hidden states become soft tokens, each image's rows in their place.

`reference.py` says what is computed, `merge.py` and `scatter.py` which patches make a row and where it goes, `fold.py`
what is worked out beforehand, `fused.py`, `cublas.py` and `cpu.py` how it is done on a GPU and on a CPU, `README.md`
why, and what it is worth.
"""

from __future__ import annotations

from typing import Literal

import torch

from kernels.backend import Backend, BackendUnavailable, choose_backend, gpu, require_backend
from kernels.project import cpu, cublas, reference
from kernels.project.configs import entry
from kernels.project.contract import check_out, count_rows
from kernels.project.fold import ACTIVATIONS, FoldedProjector, Linear, Norm, fold_projector
from kernels.project.merge import Merge
from kernels.project.scatter import ScatterIndex, scatter_index, scatter_spans

__all__ = [
    "ACTIVATIONS",
    "Backend",
    "BackendUnavailable",
    "FoldedProjector",
    "Linear",
    "Merge",
    "Norm",
    "ScatterIndex",
    "Provider",
    "choose_backend",
    "choose_provider",
    "fold_projector",
    "scatter_index",
    "scatter_spans",
    "project",
]

Provider = Literal["fused", "cublas"]
"""The two ways of backend "triton"."""


def project(
    hidden: torch.Tensor,
    folded: FoldedProjector,
    *,
    backend: Backend,
    out: torch.Tensor | None = None,
    scatter: ScatterIndex | None = None,
    provider: Provider | None = None,
) -> torch.Tensor:
    """Soft tokens: rows of patches, normalised and projected, packed in one output.

    Args:
        hidden: [tiles, skip + patches, hidden] in `folded.dtype`; tiles and tokens at any stride. Patches of
            images of any sizes one after the other (Qwen-VL) are one tile: `packed[None]`.
        folded: of `fold_projector` for this backend, on the same device. Any will do for "reference".
        backend: of `choose_backend`.
        out: [rows, width] where to write; by default a new tensor. Rows must be contiguous and may lie apart.
        scatter: of `scatter_index` or `scatter_spans`: where in `out` each row goes; what lies between stays as it is.
        provider: of backend "triton"; by default what `choose_provider` says.

    Returns:
        [tiles · rows of a tile, width] in `folded.dtype`; `out` itself if it was given.

    Raises:
        ValueError: hidden states, `out`, `scatter` or `provider` do not fit.
        BackendUnavailable: the backend cannot run there; none is tried in its place.
    """
    require_backend(backend, hidden.device)
    rows = count_rows(hidden, folded, backend)
    if provider is not None and (backend != "triton" or provider not in ("fused", "cublas")):
        raise ValueError(
            f"provider: got {provider!r} for backend {backend!r}, allowed are 'fused' and 'cublas' for 'triton'"
        )
    if out is None:
        if scatter is not None:
            raise ValueError(
                "out: got none with scatter, must be given so that nothing in it is left to chance"
            )
        out = torch.empty(rows, folded.width, dtype=folded.dtype, device=hidden.device)
    else:
        check_out(out, rows, folded, scatter)
    if rows == 0:
        return out
    if backend == "cpu":
        cpu.project(hidden, folded, out, scatter)
    elif backend == "reference":
        made = reference.project(hidden, folded).to(out.dtype)
        out.copy_(made) if scatter is None else out.index_copy_(0, scatter.rows, made)
    elif (provider or choose_provider(folded, rows)) == "cublas":
        cublas.project(hidden, folded, out, scatter)
    else:
        from kernels.project import fused  # here, so that nothing but this needs triton

        fused.project(hidden, folded, out, scatter)
    return out


def choose_provider(folded: FoldedProjector, rows: int) -> Provider:
    """What backend "triton" does for that many rows, by the committed table; "fused" in the interpreter."""
    weight = folded.linears[0].weight
    if weight.device.type != "cuda":
        return "fused"
    table = entry(gpu(weight.device)[0], tensor_cores=weight.dtype != torch.float32)
    return "fused" if rows <= table.fused_rows else "cublas"
