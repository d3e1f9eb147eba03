"""What a compiled kernel costs, read from its machine code: no GPU is needed. Knows nothing of any kernel."""

from __future__ import annotations

import re
import subprocess
import tempfile


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
