"""Compile the kernel for GPUs that are not here: `python -m kernels.activation.aot` prints registers and spills.

Exits with 1 if any form spills. Triton brings ptxas and cuobjdump; neither a GPU nor CUDA is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

from kernels import spills
from kernels.activation.reference import Activation
from kernels.cubin import compile_for
from kernels.spills import Form

ARCHITECTURES = (80, 90, 100)


class MLP(NamedTuple):
    width: int
    kind: Activation
    gated: bool = False


TOWERS = {
    "CLIP-L, quick_gelu": MLP(4096, "quick_gelu"),
    "InternViT-300M, gelu": MLP(4096, "gelu"),
    "SigLIP-so400m, gelu_tanh": MLP(4304, "gelu_tanh"),
    "Qwen2.5-VL, silu · up": MLP(3456, "silu", gated=True),
    "Pixtral, gelu · up": MLP(4096, "gelu", gated=True),
}


def compile_all() -> Iterator[Form]:
    """Every tower for every architecture in bf16, and one in fp32."""
    for architecture in ARCHITECTURES:
        for tower in TOWERS:
            yield compile_one(architecture, "bf16", tower)
        yield compile_one(architecture, "fp32", "Qwen2.5-VL, silu · up")


def compile_one(architecture: int, dtype: str, tower: str) -> Form:
    from kernels.activation import fused

    cost = compile_for(
        architecture,
        fused.activation_kernel,
        constants=fused.constants(*TOWERS[tower]),
        types=dict.fromkeys(("x", "out"), f"*{dtype}"),
        runtime=fused.RUNTIME,
        warps=fused.WARPS,
        stages=1,
    )
    return Form(architecture, dtype, tower, fused.WARPS, cost)


if __name__ == "__main__":
    sys.exit(spills.main(__doc__, compile_all, spills.FORMS))
