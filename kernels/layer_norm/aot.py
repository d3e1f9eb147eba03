"""Compile the kernel for GPUs that are not here: `python -m kernels.layer_norm.aot` prints registers and spills.

Exits with 1 if any form spills. Triton brings ptxas and cuobjdump; neither a GPU nor CUDA is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernels import spills
from kernels.cubin import Cost, compile_for

ARCHITECTURES = (80, 90, 100)
WIDTHS = (768, 1024, 1280, 1664)
"""Of CLIP's towers: ViT-B, ViT-L, ViT-H, ViT-bigG."""


@dataclass(frozen=True, slots=True)
class Compiled:
    architecture: int
    dtype: str
    width: int
    warps: int
    cost: Cost


def compile_all() -> Iterator[Compiled]:
    """Every width for every architecture in bf16, and one in fp32."""
    for architecture in ARCHITECTURES:
        for width in WIDTHS:
            yield compile_one(architecture, "bf16", width)
        yield compile_one(architecture, "fp32", max(WIDTHS))


def compile_one(architecture: int, dtype: str, width: int) -> Compiled:
    import triton

    from kernels.layer_norm import fused

    block = triton.next_power_of_2(width)
    warps = fused.warps(block)
    cost = compile_for(
        architecture,
        fused.layer_norm_kernel,
        constants={"HIDDEN": width, "BLOCK": block},
        types={**dict.fromkeys(("hidden", "weight", "bias", "out"), f"*{dtype}"), "eps": "fp32"},
        runtime=[*fused.RUNTIME, "eps"],
        warps=warps,
        stages=1,
    )
    return Compiled(architecture, dtype, width, warps, cost)


COLUMNS: dict[str, Callable[[Compiled], object]] = {
    "sm": lambda row: row.architecture,
    "dtype": lambda row: row.dtype,
    "hidden": lambda row: row.width,
    "warps": lambda row: row.warps,
}

if __name__ == "__main__":
    sys.exit(spills.main(__doc__, compile_all, COLUMNS))
