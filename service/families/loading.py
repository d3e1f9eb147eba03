"""How the tower of a checkpoint is chosen and loaded. Imports torch, which a gateway lacks."""

from __future__ import annotations

from pathlib import Path

import torch

from kernels.backend import Backend, BackendUnavailable, choose_backend
from kernels.blocks import Body
from kernels.eight_bit import CannotQuantise, Precision, choose_precision
from kernels.varlen.bounds import obstacle_to_one_call
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
    attention: str = "auto",
    independent_tiles: bool = True,
) -> TowerChoice:
    """Where and how the tower of the checkpoint in folder `path` will compute; reads no weights.

    `device` as torch names it; `dtype` one of float32, bfloat16, float16; `backend` of the kernels: auto, triton, cpu
    or reference; `body`: auto, transformers, fused, triton or compiled; `precision`: auto, full, int8 or fp8;
    `attention`: varlen, or what concerns no tower; `independent_tiles`: as the family's facts have it. Raises
    ConfigurationError: a family without a tower, a backend, body, precision or attention that this machine lacks.
    """
    folder, where = Path(path), _device(device)
    chosen = family_of(folder).tower().choose_body(folder, device=where, dtype=_dtype(dtype), requested=body)
    return TowerChoice(
        where,
        _dtype(dtype),
        _backend(where, backend),
        chosen,
        _precision(where, _dtype(dtype), precision, chosen),
        attention == "varlen" and _one_call(where, _dtype(dtype), chosen, independent_tiles),
    )


def load_tower(path: str | Path, choice: TowerChoice) -> Tower:
    """Builds the tower of the checkpoint in folder `path`, reading only the tower's own weights.

    Raises ConfigurationError: files that are missing or contradict each other, a device that is not there, layers that
    the chosen precision or attention does not take.
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
    except BackendUnavailable as error:
        raise ConfigurationError(f"encoder_attention: {error}") from None


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


def _one_call(device: torch.device, dtype: torch.dtype, body: Body, independent_tiles: bool) -> bool:
    """True. Raises ConfigurationError where attention cannot be one call a layer."""
    if independent_tiles:
        reason: str | None = "it is for models that take images at their own size"
    elif body not in ("fused", "triton"):
        reason = f"it is for Patchbay's own blocks, and these are {body}"
    else:
        reason = obstacle_to_one_call(device, dtype)
    if reason is not None:
        raise ConfigurationError(f"encoder_attention: varlen cannot run: {reason}; choose auto")
    return True


def _device(name: str) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"device: got {name!r}, allowed are cpu, cuda and cuda:N") from None
