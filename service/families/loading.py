"""How the tower of a checkpoint is chosen and loaded. Imports torch, which a gateway lacks."""

from __future__ import annotations

from pathlib import Path

import torch

from kernels.backend import Backend, BackendUnavailable, choose_backend
from kernels.blocks import Body
from kernels.eight_bit import CannotQuantise, Precision, choose_precision
from service.errors import ConfigurationError
from service.families.registry import family_of
from service.families.towers import DTYPES, Tower, TowerChoice


def choose_tower(
    path: str | Path,
    *,
    device: str,
    dtype: str,
    backend: str = "auto",
    body: str = "auto",
    precision: str = "auto",
) -> TowerChoice:
    """Where and how the tower of the checkpoint in folder `path` will compute; reads no weights.

    `device` as torch names it; `dtype` one of float32, bfloat16, float16; `backend` of the kernels: auto, triton, cpu
    or reference; `body`: auto, transformers, fused or compiled; `precision`: auto, full, int8 or fp8. Raises
    ConfigurationError: a family without a tower, a backend, body or precision that this machine lacks.
    """
    folder, where = Path(path), _device(device)
    chosen = family_of(folder).tower().choose_body(folder, device=where, dtype=_dtype(dtype), requested=body)
    return TowerChoice(
        where,
        _dtype(dtype),
        _backend(where, backend),
        chosen,
        _precision(where, _dtype(dtype), precision, chosen),
    )


def load_tower(path: str | Path, choice: TowerChoice) -> Tower:
    """Builds the tower of the checkpoint in folder `path`, reading only the tower's own weights.

    Raises ConfigurationError: files that are missing or contradict each other, a device that is not there, layers that
    the chosen precision does not take.
    """
    if choice.device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            f"device: {choice.device} was asked for and this PyTorch sees no CUDA GPU; choose cpu"
        )
    try:
        return family_of(Path(path)).tower().load(Path(path), choice)
    except CannotQuantise as error:
        raise ConfigurationError(
            f"encoder_precision: {choice.precision} is not for this tower, {error}; choose full"
        ) from None


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ConfigurationError(f"dtype: got {name!r}, allowed are {', '.join(DTYPES)}")
    return DTYPES[name]


def _backend(device: torch.device, requested: str) -> Backend:
    try:
        return choose_backend(device, requested)
    except (BackendUnavailable, ValueError) as error:
        raise ConfigurationError(f"kernels: {error}") from None


def _precision(device: torch.device, dtype: torch.dtype, requested: str, body: Body) -> Precision:
    try:
        precision = choose_precision(device, dtype, requested)
    except (BackendUnavailable, ValueError) as error:
        raise ConfigurationError(f"encoder_precision: {error}") from None
    if precision != "full" and body == "compiled":
        raise ConfigurationError(
            f"encoder_precision: {precision} is not for compiled blocks: choose encoder_body auto or transformers"
        )
    return precision


def _device(name: str) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"device: got {name!r}, allowed are cpu, cuda and cuda:N") from None
