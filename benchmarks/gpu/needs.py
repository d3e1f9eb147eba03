"""What a run needs of the machine, asked before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

KERNELS = ("torch", "triton", "transformers", "numpy", "pytest", "hypothesis")
"""Packages, by the names under which they are imported."""
ENGINE = ("torch", "transformers", "httpx", "PIL", "aiohttp")


def without_packages(names: Iterable[str], found: Callable[[str], bool] | None = None) -> list[str]:
    """A sentence for each that is not installed."""
    found = found or (lambda name: find_spec(name) is not None)
    return [f"the package {name} is not installed" for name in names if not found(name)]


def without_commit(commit: str) -> list[str]:
    return [] if commit else ["no commit: this copy has no history, so say what is measured with --commit"]


def without_engine(archive: Path | None) -> list[str]:
    """What is missing of vLLM, which is either installed or in an archive of `benchmarks/gpu/bundle`."""
    if archive is not None:
        return [] if archive.is_file() else [f"no archive: {archive} is not a file"]
    if find_spec("vllm") is not None:
        return []
    return ["no vLLM: neither is it installed, nor was an archive of it given with --archive"]
