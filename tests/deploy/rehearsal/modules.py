"""What of the image's environment can be imported where there is no GPU, each module in a process of its own.

The driver's library is replaced by one that has the functions that others ask it for, and no device. What else is
missing shows, up to symbols that packages expect of each other.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

MODULES = (
    "torch",
    "torchvision",
    "triton",
    "transformers",
    "xgrammar",
    "flashinfer.jit",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.worker.gpu_worker",
    "vllm.model_executor.models.internvl",
    "vllm.model_executor.models.qwen3_vl",
    "vllm._C_stable_libtorch",
    "vllm._moe_C_stable_libtorch",
    "vllm.cumem_allocator",
    "vllm.vllm_flash_attn._vllm_fa2_C",
    "vllm.vllm_flash_attn._vllm_fa3_C",
    "service.cli.main",
    "service.engine.plugin.connector",
    "service.families.internvl.tower",
    "kernels.patch_embed",
    "kernels.project",
)
NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE, which every function of the stand-in returns."""
ASKED_FOR = re.compile(r"\bUND (cu[A-Z]\w*)$", re.M)


def driver_functions(libraries: Iterable[Path]) -> set[str]:
    """Those of the driver that libraries are linked against."""
    found: set[str] = set()
    for library in libraries:
        command = ["readelf", "--dyn-syms", "--wide", library]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found |= set(ASKED_FOR.findall(listed))
    return found


def write_driver(file: Path, functions: Iterable[str]) -> None:
    """A stand-in for libcuda.so.1, by the system's C compiler."""
    code = "\n".join(f"int {name}(void) {{ return {NO_DEVICE}; }}" for name in sorted(functions))
    flags = ["-shared", "-fPIC", f"-Wl,-soname,{file.name}", "-o", str(file), "-x", "c", "-"]
    subprocess.run(["cc", *flags], input=code, text=True, check=True)


def importing(python: str, module: str, environment: Mapping[str, str]) -> str | None:
    """What prevents it: the last line of the error, or None."""
    line = f"import importlib, torch; importlib.import_module({module!r})"
    run = subprocess.run(
        [python, "-c", line], env=dict(environment), capture_output=True, text=True, check=False
    )
    if run.returncode == 0:
        return None
    return (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
