"""Every kernel compiled for GPUs that are not here: registers, spills and shared memory, one table a kernel.

Exits with 1 if anything spills. `python -m kernels.<kernel>.aot` has one of them alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kernels import spills
from kernels.activation import aot as activation
from kernels.add_norm import aot as add_norm
from kernels.layer_norm import aot as layer_norm
from kernels.patch_embed import aot as patch_embed
from kernels.project import aot as project
from kernels.rotary import aot as rotary

Columns = Mapping[str, Callable[[Any], object]]
KERNELS: dict[str, tuple[Callable[[], Iterable[Any]], Columns]] = {
    "activation": (activation.compile_all, spills.FORMS),
    "add_norm": (add_norm.compile_all, spills.FORMS),
    "layer_norm": (layer_norm.compile_all, layer_norm.COLUMNS),
    "patch_embed": (patch_embed.compile_all, patch_embed.COLUMNS),
    "project": (project.compile_all, project.COLUMNS),
    "rotary": (rotary.compile_all, spills.FORMS),
}
"""What is compiled, and what a row says of it before its cost."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kernels.aot", description=__doc__)
    parser.add_argument(
        "--sm",
        type=int,
        help="only rows of this compute capability without its dot, such as 90 (default: all)",
    )
    sm = parser.parse_args(arguments).sm
    spilled = False
    for name, (compile_all, columns) in KERNELS.items():
        rows = [row for row in compile_all() if sm in (None, row.architecture)]
        print(f"## {name}\n\n{spills.table(rows, columns)}\n", flush=True)
        spilled |= any(row.cost.spill_bytes for row in rows)
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
