"""rotary: two-dimensional rotary positions on queries and keys, where the product left them, in one launch.

`reference.py` says what is computed, `fused.py` how it is done on a GPU, `pairs.py` on a CPU; `README.md` says why.
"""

from __future__ import annotations

import torch

from kernels.backend import Backend, BackendUnavailable, choose_backend, require_backend
from kernels.rotary import pairs, reference

__all__ = ["Backend", "BackendUnavailable", "choose_backend", "rotary"]

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def rotary(qkv: torch.Tensor, rotations: torch.Tensor, heads: int, *, backend: Backend) -> torch.Tensor:
    """Rotate each token's queries and keys to its position (RoPE, Su et al. 2021), in place.

    Args:
        qkv: [tokens, 3 · hidden] in bf16, fp16 or fp32: query, key and value side by side, a head's numbers adjacent
            and the two that rotate with each other next to each other. Rows at any stride.
        rotations: complex64 [tokens, hidden / heads / 2], contiguous, on the same device: what each pair is multiplied
            with. Which of them belong to the row and which to the column is the caller's.
        heads: of query and of key.
        backend: of `choose_backend`.

    Returns:
        `qkv` itself; its values are untouched.

    Raises:
        ValueError: shapes, dtypes, strides or devices do not fit.
        BackendUnavailable: the backend cannot run there; none is tried in its place.
    """
    require_backend(backend, qkv.device)
    _check(qkv, rotations, heads)
    if backend == "triton":
        from kernels.rotary import fused  # here, so that nothing but this backend needs triton

        fused.rotary(qkv, rotations, heads)
    elif backend == "cpu":
        pairs.rotary(qkv, rotations, heads)
    else:
        qkv.copy_(reference.rotary(qkv, rotations, heads))
    return qkv


def _check(qkv: torch.Tensor, rotations: torch.Tensor, heads: int) -> None:
    if qkv.dtype not in DTYPES or qkv.ndim != 2 or qkv.stride(1) != 1 or qkv.stride(0) < qkv.shape[1]:
        raise ValueError(
            f"qkv: got {qkv.dtype} {list(qkv.shape)} with strides {list(qkv.stride())}, must be [tokens, 3 · hidden] "
            f"with adjacent columns in one of {', '.join(map(str, DTYPES))}"
        )
    if heads < 1 or qkv.shape[1] % (6 * heads):
        raise ValueError(
            f"heads: got {heads} for {qkv.shape[1]} columns, must divide query, key and value into pairs"
        )
    shape = (len(qkv), qkv.shape[1] // (6 * heads))
    fits = rotations.shape == shape and rotations.device == qkv.device and rotations.is_contiguous()
    if not fits or rotations.dtype != torch.complex64:
        raise ValueError(
            f"rotations: got {rotations.dtype} {list(rotations.shape)} on {rotations.device}, must be contiguous "
            f"torch.complex64 {list(shape)} on {qkv.device}"
        )
