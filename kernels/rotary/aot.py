"""Compile the kernel for GPUs that are not here: `python -m kernels.rotary.aot` prints registers and spills.

Exits with 1 if any form spills. Triton brings ptxas and cuobjdump; neither a GPU nor CUDA is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from kernels import spills
from kernels.cubin import compile_for
from kernels.spills import Form

ARCHITECTURES = (80, 90, 100)
HEADS = {"Qwen2.5-VL": (16, 80), "Qwen3-VL": (16, 72), "GLM-4.1V": (12, 128), "Pixtral": (16, 64)}
"""Their number and width."""


def compile_all() -> Iterator[Form]:
    """Every tower for every architecture in bf16, and one in fp32."""
    for architecture in ARCHITECTURES:
        for tower in HEADS:
            yield compile_one(architecture, "bf16", tower)
        yield compile_one(architecture, "fp32", "Qwen2.5-VL")


def compile_one(architecture: int, dtype: str, tower: str) -> Form:
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
    return Form(architecture, dtype, tower, fused.WARPS, cost)


if __name__ == "__main__":
    sys.exit(spills.main(__doc__, compile_all, spills.FORMS))
