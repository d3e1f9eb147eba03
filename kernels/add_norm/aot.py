"""Compile the kernel for GPUs that are not here: `python -m kernels.add_norm.aot` prints registers and spills.

Exits with 1 if any form spills. Triton brings ptxas and cuobjdump; neither a GPU nor CUDA is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

from kernels import spills
from kernels.add_norm.reference import NormKind
from kernels.cubin import compile_for
from kernels.spills import Form

ARCHITECTURES = (80, 90, 100)


class Norm(NamedTuple):
    width: int
    kind: NormKind
    biased: bool


TOWERS = {
    "CLIP-L, layer 1024": Norm(1024, "layer", True),
    "SigLIP-so400m, layer 1152": Norm(1152, "layer", True),
    "Qwen2-VL, layer 1280": Norm(1280, "layer", True),
    "Qwen2.5-VL, rms 1280": Norm(1280, "rms", False),
    "GLM-4.1V, rms 1536": Norm(1536, "rms", False),
}


def compile_all() -> Iterator[Form]:
    """Every tower for every architecture in bf16, and one in fp32."""
    for architecture in ARCHITECTURES:
        for tower in TOWERS:
            yield compile_one(architecture, "bf16", tower)
        yield compile_one(architecture, "fp32", "Qwen2-VL, layer 1280")


def compile_one(architecture: int, dtype: str, tower: str) -> Form:
    from kernels.add_norm import fused

    norm = TOWERS[tower]
    pointers = dict.fromkeys(("hidden", "update", "weight", "bias", "normed"), f"*{dtype}")
    warps = fused.warps(norm.width)
    cost = compile_for(
        architecture,
        fused.add_norm_kernel,
        constants=fused.constants(*norm),
        types={**pointers, "eps": "fp32"},
        runtime=["eps"],
        warps=warps,
        stages=1,
    )
    return Form(architecture, dtype, tower, warps, cost)


if __name__ == "__main__":
    sys.exit(spills.main(__doc__, compile_all, spills.FORMS))
