"""Who runs a tower's blocks: chosen once at start, reported, never swapped in silence."""

from __future__ import annotations

import shutil
from typing import Literal, get_args

import torch

from kernels.backend import BackendUnavailable, product_dtype, require_backend

Body = Literal["transformers", "fused", "triton", "compiled"]
BODIES: tuple[Body, ...] = get_args(Body)
COMPILERS = ("c++", "g++", "clang++")
"""One of which `torch.compile` calls."""


def choose_body(
    device: torch.device | str, dtype: torch.dtype, requested: str = "auto", *, obstacle: str | None = None
) -> Body:
    """Resolve `requested` for a tower in `dtype` on `device`.

    "auto" is "fused" where it can run and gains: on a CPU, in fp32, and in bf16 where the processor multiplies it. It
    is never "triton" or "compiled", which want to be measured first.
    `obstacle` says why the tower's layers cannot be fused (`UnsupportedLayer`), or None.

    Raises:
        ValueError: `requested` is neither "auto" nor a body.
        BackendUnavailable: "fused", "triton" or "compiled" was asked for and cannot run; the message says why.
    """
    if requested not in ("auto", *BODIES):
        raise ValueError(f"body: got {requested!r}, allowed are 'auto', {', '.join(map(repr, BODIES))}")
    if requested == "transformers":
        return "transformers"
    if requested == "compiled":
        if not any(map(shutil.which, COMPILERS)):
            raise BackendUnavailable(
                f"body 'compiled' needs a compiler, and none of {', '.join(COMPILERS)} is installed: install one, or "
                "choose body 'transformers'"
            )
        return "compiled"
    if requested == "triton":
        return triton_body(torch.device(device), obstacle)
    reason = obstacle_to_packing(torch.device(device), dtype) or obstacle
    if reason is None:
        return "fused"
    if requested == "fused":
        raise BackendUnavailable(f"body 'fused' cannot run: {reason}; choose body 'transformers'")
    return "transformers"


def triton_body(device: torch.device, obstacle: str | None) -> Body:
    """Products by torch, and between them Triton kernels. Raises BackendUnavailable where it cannot run."""
    if obstacle is not None:
        raise BackendUnavailable(f"body 'triton' cannot run: {obstacle}; choose body 'transformers'")
    require_backend("triton", device)
    return "triton"


def obstacle_to_packing(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why products with weights that oneDNN packed cannot run, or gain nothing; None where they do."""
    if device.type != "cpu":
        return f"it runs on a CPU and the tower is on {device}"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "this PyTorch was built without oneDNN"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"it multiplies float32 and bfloat16, not {str(dtype).removeprefix('torch.')}"
    if product_dtype(dtype, device) != dtype:
        return "this processor has no instructions for bfloat16 (AVX512-BF16 or AMX)"
    return None
