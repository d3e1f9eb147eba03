"""In which precision a tower's linear layers are computed: chosen once at start, reported, never swapped in silence."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from kernels.backend import BackendUnavailable

Precision = Literal["full", "int8", "fp8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
INT8_DTYPES = (torch.float32, torch.bfloat16)
"""Of what goes in and comes out."""
HOPPER = 9
"""Major compute capability of the GPUs whose products in fp8 take a scale a row."""


def choose_precision(device: torch.device | str, dtype: torch.dtype, requested: str = "auto") -> Precision:
    """Resolve `requested` for a tower in `dtype` on `device`; "auto" is "full".

    Raises:
        ValueError: `requested` is neither "auto" nor a precision.
        BackendUnavailable: "int8" or "fp8" was asked for and cannot run; the message says why.
    """
    if requested == "int8":
        return _unless("int8", obstacle_to_int8(torch.device(device), dtype))
    if requested == "fp8":
        return _unless("fp8", obstacle_to_fp8(torch.device(device), dtype))
    if requested not in ("auto", "full"):
        raise ValueError(f"got {requested!r}, allowed are 'auto', {', '.join(map(repr, PRECISIONS))}")
    return "full"


def obstacle_to_int8(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why products in int8 cannot run, or gain nothing; None where they do."""
    if device.type != "cpu":
        return f"it is for a CPU and the tower is on {device}"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "this PyTorch was built without oneDNN"
    if not hasattr(torch.ops.onednn, "qlinear_prepack"):
        return "this PyTorch was built without oneDNN's products in int8"
    if dtype not in INT8_DTYPES:
        return f"it is for float32 and bfloat16, not {_name(dtype)}"
    if not (torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported()):
        return "this processor has no instructions for it (AVX512-VNNI or AMX)"
    return None


def obstacle_to_fp8(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why products in fp8 cannot run; None where they can."""
    if device.type != "cuda":
        return f"it is for a GPU and the tower is on {device}"
    if dtype != torch.bfloat16:
        return f"it is for bfloat16, not {_name(dtype)}"
    major, minor = torch.cuda.get_device_capability(device)
    if major != HOPPER:
        return f"it is for Hopper (compute capability {HOPPER}.0) and {device} has {major}.{minor}"
    return None


def _unless(precision: Precision, reason: str | None) -> Precision:
    if reason is not None:
        raise BackendUnavailable(f"{precision} cannot run: {reason}; choose full")
    return precision


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
