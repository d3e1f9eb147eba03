"""layer_norm: the normalisation between a CLIP tower's patch embedding and its first block, one launch.

`reference.py` says what is computed, `fused.py` how it is done on a GPU; on a CPU torch's own is used, and `README.md`
says why.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kernels.backend import Backend, BackendUnavailable, choose_backend, require_backend
from kernels.layer_norm import reference

__all__ = ["Backend", "BackendUnavailable", "choose_backend", "layer_norm"]

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def layer_norm(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    *,
    backend: Backend,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Each token to mean 0 and variance 1 over its channels, times `weight`, plus `bias` (Ba et al. 2016).

    Args:
        hidden: [tiles, tokens, hidden] in bf16, fp16 or fp32; tiles and tokens at any stride, channels adjacent.
        weight, bias: [hidden], in the dtype of `hidden` or fp32, on the same device.
        eps: added to the variance.
        backend: of `choose_backend`.
        out: where to write, as `hidden` in shape, dtype and device, and apart from it or the same; by default a
            new tensor.

    Returns:
        [tiles, tokens, hidden] in the dtype of `hidden`; `out` itself if it was given.

    Raises:
        ValueError: shapes, dtypes, strides or devices do not fit.
        BackendUnavailable: the backend cannot run there; none is tried in its place.
    """
    require_backend(backend, hidden.device)
    _check(hidden, weight, bias, out)
    if backend == "triton":
        from kernels.layer_norm import fused  # here, so that nothing but this backend needs triton

        if out is None:
            out = torch.empty(hidden.shape, dtype=hidden.dtype, device=hidden.device)
        fused.layer_norm(hidden, weight, bias, eps, out)
        return out
    if backend == "cpu":
        made = F.layer_norm(hidden, weight.shape, weight, bias, eps)
    else:
        made = reference.layer_norm(hidden, weight, bias, eps).to(hidden.dtype)
    return made if out is None else out.copy_(made)


def _check(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, out: torch.Tensor | None) -> None:
    if hidden.dtype not in DTYPES or hidden.ndim != 3 or hidden.stride(2) != 1:
        raise ValueError(
            f"hidden: got {hidden.dtype} {list(hidden.shape)} with strides {list(hidden.stride())}, must be "
            f"[tiles, tokens, hidden] with adjacent channels in one of {', '.join(map(str, DTYPES))}"
        )
    for name, vector in (("weight", weight), ("bias", bias)):
        fits = vector.shape == hidden.shape[2:] and vector.device == hidden.device and vector.is_contiguous()
        if not fits or vector.dtype not in (hidden.dtype, torch.float32):
            raise ValueError(
                f"{name}: got {vector.dtype} {list(vector.shape)} on {vector.device}, must be contiguous "
                f"[{hidden.shape[2]}] in {hidden.dtype} or torch.float32 on {hidden.device}"
            )
    if weight.dtype != bias.dtype:
        raise ValueError(f"bias: got {bias.dtype}, must be in the dtype of weight, {weight.dtype}")
    if out is None:
        return
    if (out.shape, out.dtype, out.device) != (hidden.shape, hidden.dtype, hidden.device) or out.stride(
        2
    ) != 1:
        raise ValueError(
            f"out: got {out.dtype} {list(out.shape)} on {out.device} with strides {list(out.stride())}, must be "
            f"{hidden.dtype} {list(hidden.shape)} on {hidden.device} with adjacent channels"
        )
