"""Compile the fused kernel for GPUs that are not here, and read what each configuration costs.

`python -m kernels.patch_embed.aot` prints the register and spill table of README.md (`--json` for machines) and
exits with 1 if any configuration spills. Triton brings ptxas and cuobjdump; neither a GPU nor CUDA is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernels import spills
from kernels.cubin import Cost, compile_for
from kernels.patch_embed import configs, tuned
from kernels.patch_embed.configs import Config

PATCH_SIZES = {"bf16": (14, 16, 32), "fp32": (14,)}
"""By operand dtype; fp16 compiles to the same code as bf16 but for the name of its matrix instruction."""


@dataclass(frozen=True, slots=True)
class Compiled:
    architecture: int
    dtype: str
    patch_size: int
    config: Config
    cost: Cost


def compile_all() -> Iterator[Compiled]:
    """Every committed configuration, for every architecture, operand dtype and patch size it is meant for."""
    for architecture, choice in configs.TENSOR_CORES.items():
        for dtype, patch_sizes in PATCH_SIZES.items():
            used = configs.EXACT if dtype == "fp32" else choice
            for config in (used.many, used.few):
                for patch_size in patch_sizes:
                    yield compile_one(architecture, dtype, patch_size, config)
    for architecture, shapes in configs.FLAT.items():
        for config in shapes:
            yield compile_one(architecture, "bf16", 14, config)
    for entry in tuned.load():
        yield compile_one(entry.capability, "bf16", entry.patch_size, entry.config)


def compile_one(architecture: int, dtype: str, patch_size: int, config: Config) -> Compiled:
    """Compile for packed pixels, a class token and ordinary alignment, as the service calls it."""
    from kernels.patch_embed import flat, fused

    fixed = fused.constants(patch_size, pixel_stride=3, columns=24, prefix=1, config=config)
    cost = compile_for(
        architecture,
        flat.flat_kernel if config.flat else fused.patch_embed_kernel,
        constants={**fixed, "PATCHES": 24 * 24} if config.flat else fixed,
        types={"tiles": "*u8", "weight": f"*{dtype}", "offset": "*fp32", "out": f"*{dtype}"},
        runtime=flat.RUNTIME if config.flat else fused.RUNTIME,
        warps=config.warps,
        stages=config.stages,
    )
    return Compiled(architecture, dtype, patch_size, config, cost)


COLUMNS: dict[str, Callable[[Compiled], object]] = {
    "sm": lambda row: row.architecture,
    "dtype": lambda row: row.dtype,
    "P": lambda row: row.patch_size,
    "tokens×hidden×K": lambda row: (
        f"{row.config.block_tokens}×{row.config.block_hidden}×{row.config.block_k}"
    ),
    "warps": lambda row: row.config.warps,
    "flat": lambda row: "yes" if row.config.flat else "",
}

if __name__ == "__main__":
    sys.exit(spills.main(__doc__, compile_all, COLUMNS))
