"""Compile the kernel for GPUs that are not here: `python -m kernels.rotary.aot` prints registers and spills.

Exits with 1 if any form spills. Triton brings ptxas and cuobjdump; neither a GPU nor CUDA is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernels import spills
from kernels.cubin import Cost, compile_for

ARCHITECTURES = (80, 90, 100)
HEADS = {"Qwen2.5-VL": (16, 80), "Qwen3-VL": (16, 72), "GLM-4.1V": (12, 128), "Pixtral": (16, 64)}
"""Their number and width."""


@dataclass(frozen=True, slots=True)
class Compiled:
    architecture: int
    dtype: str
    tower: str
    warps: int
    cost: Cost


def compile_all() -> Iterator[Compiled]:
    """Every tower for every architecture in bf16, and one in fp32."""
    for architecture in ARCHITECTURES:
        for tower in HEADS:
            yield compile_one(architecture, "bf16", tower)
        yield compile_one(architecture, "fp32", "Qwen2.5-VL")


def compile_one(architecture: int, dtype: str, tower: str) -> Compiled:
    from kernels.rotary import fused

    heads, width = HEADS[tower]
    cost = compile_for(
        architecture,
        fused.rotary_kernel,
        constants=fused.constants(heads, width),
        types={"qkv": f"*{dtype}", "rotations": "*fp32"},
        runtime=fused.RUNTIME,
        warps=fused.WARPS,
        stages=1,
    )
    return Compiled(architecture, dtype, tower, fused.WARPS, cost)


COLUMNS: dict[str, Callable[[Compiled], object]] = {
    "sm": lambda row: row.architecture,
    "dtype": lambda row: row.dtype,
    "tower": lambda row: row.tower,
    "warps": lambda row: row.warps,
}

if __name__ == "__main__":
    sys.exit(spills.main(__doc__, compile_all, COLUMNS))
