"""What a kernel costs, compiled for GPUs that are not present and read from its machine code."""
# triton publishes no types
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

ALIGNED = [["tt.divisibility", 16]]
"""What the launcher finds for pointers and strides of ordinary tensors, and tells the compiler."""


@dataclass(frozen=True, slots=True)
class Cost:
    registers: int
    """Per thread."""
    spill_bytes: int
    """Stack and local memory per thread; 0 is what we want."""
    shared_bytes: int
    tensor_core_instructions: int


def compile_for(
    architecture: int,
    kernel: Any,
    *,
    constants: Mapping[str, int],
    types: Mapping[str, str],
    runtime: Collection[str],
    warps: int,
    stages: int,
) -> Cost:
    """Compile a `triton.jit` function as its launcher would with tensors of ordinary alignment.

    `types` are Triton's names (`*bf16`, `fp32`) of arguments that are no 32-bit integers; `runtime` the arguments that
    the kernel does not specialise.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names: list[str] = kernel.arg_names
    source = ASTSource(
        kernel,
        {name: "constexpr" if name in constants else types.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (position,): ALIGNED
            for position, name in enumerate(names)
            if name not in constants and name not in runtime
        },
    )
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    usage = resources(compiled.asm["cubin"])
    return Cost(
        registers=usage["REG"],
        spill_bytes=usage["STACK"] + usage["LOCAL"],
        shared_bytes=int(compiled.metadata.shared),
        tensor_core_instructions=tensor_core_instructions(compiled.asm["ptx"]),
    )


def resources(cubin: bytes) -> dict[str, int]:
    """cuobjdump's account of a kernel, e.g. {"REG": 188, "STACK": 0, "SHARED": 1024, "LOCAL": 0, ...}."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"\b([A-Z]+):(\d+)", report)}


def tensor_core_instructions(ptx: str) -> int:
    """How many instructions of a kernel multiply matrices, on any architecture from Ampere to Blackwell."""
    return len(re.findall(r"\b(?:wgmma\.mma_async|tcgen05\.mma|mma\.sync)", ptx))
