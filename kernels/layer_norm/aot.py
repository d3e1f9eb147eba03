"""Compile the kernel for GPUs that are not here: `python -m kernels.layer_norm.aot` prints registers and spills.

Exits with 1 if any form spills. Triton brings ptxas and cuobjdump; neither a GPU nor CUDA is needed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

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


def _table(rows: list[Compiled]) -> str:
    lines = ["| sm | dtype | hidden | warps | registers | spilled |", "|---" * 6 + "|"]
    lines += [
        f"| {r.architecture} | {r.dtype} | {r.width} | {r.warps} | {r.cost.registers} | {r.cost.spill_bytes} |"
        for r in rows
    ]
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
