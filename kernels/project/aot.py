"""Compile the fused kernel for GPUs that are not here, and read what each configuration costs.

`python -m kernels.project.aot` prints the register and spill table of README.md (`--json` for machines) and exits
with 1 if any configuration spills. Triton brings ptxas and cuobjdump; neither a GPU nor CUDA is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kernels import spills
from kernels.cubin import Cost, compile_for
from kernels.project import configs
from kernels.project.configs import Config

PLAIN = {"SKIP": 0, "FACTOR": 1, "SIDE": 0, "PARTS": 1, "GROUPS": 1, "NORMED": 0, "CENTRED": 0}
SHUFFLE = {"SKIP": 1, "FACTOR": 2, "SIDE": 32, "PARTS": 4}
LAYERS: dict[str, dict[str, int]] = {
    "LLaVA linear 1": {**PLAIN, "SKIP": 1, "HIDDEN": 1024, "ACTIVATION": 1, "SCATTERED": 0},
    "InternVL linear 1": {
        **SHUFFLE,
        **{"HIDDEN": 1024, "GROUPS": 1, "NORMED": 1, "CENTRED": 1, "ACTIVATION": 1, "SCATTERED": 0},
    },
    "Qwen2.5-VL linear 1": {
        **PLAIN,
        **{
            "FACTOR": 2,
            "PARTS": 4,
            "HIDDEN": 1280,
            "GROUPS": 4,
            "NORMED": 1,
            "ACTIVATION": 1,
            "SCATTERED": 0,
        },
    },
    "linear 2, placed": {**PLAIN, "HIDDEN": 4096, "ACTIVATION": 0, "SCATTERED": 1},
}


@dataclass(frozen=True, slots=True)
class Compiled:
    architecture: int
    dtype: str
    layer: str
    config: Config
    cost: Cost


def compile_all() -> Iterator[Compiled]:
    """Every committed configuration, for every architecture, with every form of the kernel."""
    for architecture, choice in configs.TENSOR_CORES.items():
        for config in (choice.many, choice.few):
            for layer in LAYERS:
                yield compile_product(architecture, "bf16", layer, config)
        yield compile_statistics(architecture)
    for config in (configs.EXACT.many, configs.EXACT.few):
        yield compile_product(min(configs.TENSOR_CORES), "fp32", "InternVL linear 1", config)


def compile_product(architecture: int, dtype: str, layer: str, config: Config) -> Compiled:
    """Compile for ordinary alignment, as the service calls it."""
    from kernels.project import fused

    fixed = {**LAYERS[layer], **fused.constants(LAYERS[layer]["HIDDEN"], config)}
    pointers = {
        **dict.fromkeys(("hidden", "weight", "out"), f"*{dtype}"),
        **dict.fromkeys(("bias", "sums", "statistics"), "*fp32"),
        "scatter": "*i64",
    }
    return _compile(fused.product_kernel, architecture, dtype, layer, config, fixed, pointers, fused.RUNTIME)


def compile_statistics(architecture: int) -> Compiled:
    """For rows of InternVL-300M: 4096 numbers."""
    from kernels.project import fused

    warps = fused.statistics_warps(4096)
    fixed = {**SHUFFLE, "HIDDEN": 1024, "GROUPS": 1, "CENTRED": 1, "BLOCK": 4096}
    pointers = {"hidden": "*bf16", "statistics": "*fp32", "eps": "fp32"}
    config = Config(1, 0, 4096, warps, 1)
    kernel = fused.statistics_kernel
    return _compile(kernel, architecture, "bf16", "statistics", config, fixed, pointers, ["tile_rows", "eps"])


def _compile(
    kernel: Any,
    architecture: int,
    dtype: str,
    layer: str,
    config: Config,
    fixed: dict[str, int],
    pointers: dict[str, str],
    runtime: list[str],
) -> Compiled:
    cost = compile_for(
        architecture,
        kernel,
        constants=fixed,
        types=pointers,
        runtime=runtime,
        warps=config.warps,
        stages=config.stages,
    )
    return Compiled(architecture, dtype, layer, config, cost)


COLUMNS: dict[str, Callable[[Compiled], object]] = {
    "sm": lambda row: row.architecture,
    "dtype": lambda row: row.dtype,
    "layer": lambda row: row.layer,
    "rows×width×K": lambda row: f"{row.config.block_rows}×{row.config.block_width}×{row.config.block_k}",
    "warps": lambda row: row.config.warps,
}

if __name__ == "__main__":
    sys.exit(spills.main(__doc__, compile_all, COLUMNS))
