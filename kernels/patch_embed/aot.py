"""Compile the fused kernel for GPUs that are not here, and read what each configuration costs.

`python -m kernels.patch_embed.aot` prints the register and spill table of README.md (`--json` for machines) and
exits with 1 if any configuration spills. Triton brings ptxas and cuobjdump; neither a GPU nor CUDA is needed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

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
    for entry in tuned.load():
        yield compile_one(entry.capability, "bf16", entry.patch_size, entry.config)


def compile_one(architecture: int, dtype: str, patch_size: int, config: Config) -> Compiled:
    """Compile for packed pixels, a class token and ordinary alignment, as the service calls it."""
    from kernels.patch_embed import fused

    cost = compile_for(
        architecture,
        fused.patch_embed_kernel,
        constants=fused.constants(patch_size, pixel_stride=3, columns=24, prefix=1, config=config),
        types={"tiles": "*u8", "weight": f"*{dtype}", "offset": "*fp32", "out": f"*{dtype}"},
        runtime=fused.RUNTIME,
        warps=config.warps,
        stages=config.stages,
    )
    return Compiled(architecture, dtype, patch_size, config, cost)


def _table(rows: list[Compiled]) -> str:
    lines = [
        "| sm | dtype | P | tokens×hidden×K | warps | registers | spilled | shared KB |",
        "|---" * 8 + "|",
    ]
    for r in rows:
        c = r.config
        blocks = f"{c.block_tokens}×{c.block_hidden}×{c.block_k}"
        lines.append(
            f"| {r.architecture} | {r.dtype} | {r.patch_size} | {blocks} | {c.warps} | {r.cost.registers} "
            f"| {r.cost.spill_bytes} | {r.cost.shared_bytes / 1024:.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="rows as JSON instead of a table")
    as_json = parser.parse_args().json
    rows = list(compile_all())
    print(json.dumps([asdict(row) for row in rows], indent=1) if as_json else _table(rows))
    return 1 if any(row.cost.spill_bytes for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
