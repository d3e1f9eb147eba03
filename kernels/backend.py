"""Which implementation of a kernel runs: chosen once at startup, named in every call, never swapped silently."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Literal, get_args

import torch

Backend = Literal["triton", "cpu", "reference"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
OLDEST_CAPABILITY = (8, 0)
"""Ampere: the first architecture whose tensor cores take bf16, and the oldest the kernels are compiled for."""


class BackendUnavailable(RuntimeError):
    """The backend that was asked for cannot run on this device; the message says why and what to do."""


def choose_backend(device: torch.device | str, requested: str = "auto") -> Backend:
    """Resolve `requested` for `device`, once at start; the caller reports the answer and passes it to every call.

    "auto" is "triton" on a CUDA device and "cpu" elsewhere.

    Raises:
        ValueError: `requested` is neither "auto" nor a backend.
        BackendUnavailable: the backend cannot run on `device`.
    """
    device = torch.device(device)
    if requested == "auto":
        backend: Backend = "triton" if device.type == "cuda" else "cpu"
    elif requested in BACKENDS:
        backend = requested
    else:
        raise ValueError(f"backend: got {requested!r}, allowed are 'auto', {', '.join(map(repr, BACKENDS))}")
    require_backend(backend, device)
    if backend == "triton" and device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < OLDEST_CAPABILITY:
            raise BackendUnavailable(
                f"backend 'triton' needs compute capability {_dotted(OLDEST_CAPABILITY)} or later and {device} has "
                f"{_dotted(capability)}: choose backend 'reference' there, or the CPU"
            )
    return backend


def require_backend(backend: Backend, device: torch.device) -> None:
    """Raise `BackendUnavailable` unless `backend` can work on tensors that lie on `device`."""
    if backend == "cpu" and device.type != "cpu":
        raise BackendUnavailable(
            f"backend 'cpu' got a tensor on {device}: choose 'triton', or move it to the CPU"
        )
    if backend != "triton":
        return
    if importlib.util.find_spec("triton") is None:
        raise BackendUnavailable(
            "backend 'triton' needs the package triton, which is not installed: install it, "
            "or choose backend 'cpu' (on the CPU) or 'reference' (anywhere, slow)"
        )
    if device.type != "cuda" and not _interpreted():
        raise BackendUnavailable(
            f"backend 'triton' got a tensor on {device} and runs on CUDA devices only: choose backend 'cpu', "
            "or set TRITON_INTERPRET=1 before Python starts to interpret the kernel (for tests, very slow)"
        )


def product_dtype(dtype: torch.dtype, device: torch.device | str) -> torch.dtype:
    """The dtype in which `device` multiplies matrices for results in `dtype`, always accumulating in fp32.

    On a GPU that is `dtype`. On a CPU bf16 pays only where the processor has instructions for it (AVX512-BF16
    or AMX, through oneDNN); everything else multiplies in fp32.
    """
    if torch.device(device).type != "cpu":
        return dtype
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if dtype == torch.bfloat16 and native else torch.float32


@cache
def gpu(device: torch.device) -> tuple[int, int]:
    """Compute capability without its dot, and multiprocessors; an H200's where there is none (the interpreter)."""
    if device.type != "cuda":
        return 90, 132
    properties = torch.cuda.get_device_properties(device)
    return properties.major * 10 + properties.minor, properties.multi_processor_count


def _interpreted() -> bool:
    from triton import knobs

    return bool(knobs.runtime.interpret)


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
