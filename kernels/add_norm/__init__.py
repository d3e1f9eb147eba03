"""add_norm: what a layer adds to the hidden states, and the norm in front of the next, in one launch.

`reference.py` says what is computed, `fused.py` how it is done on a GPU; on a CPU torch's own are used, and `README.md`
says why.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kernels.add_norm import reference
from kernels.add_norm.reference import NORMS, NormKind
from kernels.backend import Backend, BackendUnavailable, choose_backend, require_backend

__all__ = ["NORMS", "Backend", "BackendUnavailable", "NormKind", "add_norm", "choose_backend"]

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def add_norm(
    hidden: torch.Tensor,
    update: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    kind: NormKind,
    *,
    backend: Backend,
) -> torch.Tensor:
    """Add `update` to `hidden`, in place, and return the sum normalised over its channels.

    The norm is that of the sum before it is rounded.

    Args:
        hidden: [tokens, hidden] in bf16, fp16 or fp32; tokens at any stride, channels adjacent.
        update: the same in shape, dtype and device, channels adjacent.
        weight: [hidden], contiguous, in the dtype of `hidden` or fp32, on the same device.
        bias: the same, or None.
        eps: added to the variance, or to the mean square.
        kind: "layer" or "rms".
        backend: of `choose_backend`.

    Returns:
        [tokens, hidden] in the dtype of `hidden`, contiguous.

    Raises:
        ValueError: shapes, dtypes, strides, devices or the name do not fit.
        BackendUnavailable: the backend cannot run there; none is tried in its place.
    """
    require_backend(backend, hidden.device)
    _check(hidden, update, weight, bias, kind)
    if backend == "triton":
        from kernels.add_norm import fused  # here, so that nothing but this backend needs triton

        normed = torch.empty(hidden.shape, dtype=hidden.dtype, device=hidden.device)
        fused.add_norm(hidden, update, weight, bias, eps, kind, normed)
        return normed
    if backend == "cpu":
        hidden += update
        if kind == "layer":
            return F.layer_norm(hidden, weight.shape, weight, bias, eps)
        normed = F.rms_norm(hidden, weight.shape, weight, eps)
        return normed if bias is None else normed.add_(bias)
    total, normed = reference.add_norm(hidden, update, weight, bias, eps, kind)
    hidden.copy_(total)
    return normed.to(hidden.dtype)


def _check(
    hidden: torch.Tensor, update: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, kind: str
) -> None:
    if kind not in NORMS:
        raise ValueError(f"kind: got {kind!r}, allowed are {', '.join(map(repr, NORMS))}")
    if hidden.dtype not in DTYPES or hidden.ndim != 2 or not _apart(hidden):
        raise ValueError(
            f"hidden: got {hidden.dtype} {list(hidden.shape)} with strides {list(hidden.stride())}, must be "
            f"[tokens, hidden] with adjacent channels in one of {', '.join(map(str, DTYPES))}"
        )
    same = (update.shape, update.dtype, update.device) == (hidden.shape, hidden.dtype, hidden.device)
    if not same or update.stride(1) != 1:
        raise ValueError(
            f"update: got {update.dtype} {list(update.shape)} on {update.device} with strides "
            f"{list(update.stride())}, must be {hidden.dtype} {list(hidden.shape)} on {hidden.device} with adjacent "
            "channels"
        )
    for name, vector in (("weight", weight), ("bias", weight if bias is None else bias)):
        fits = vector.shape == hidden.shape[1:] and vector.device == hidden.device and vector.is_contiguous()
        if not fits or vector.dtype not in (hidden.dtype, torch.float32):
            raise ValueError(
                f"{name}: got {vector.dtype} {list(vector.shape)} on {vector.device}, must be contiguous "
                f"[{hidden.shape[1]}] in {hidden.dtype} or torch.float32 on {hidden.device}"
            )


def _apart(x: torch.Tensor) -> bool:
    """Whether channels are adjacent and tokens do not overlap."""
    return x.stride(1) == 1 and (len(x) < 2 or x.stride(0) >= x.shape[1])
