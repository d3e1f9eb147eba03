"""What compiled kernels cost, as a table of registers and spills; the command line of each kernel's `aot.py`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from kernels.cubin import Cost


class Compiled(Protocol):
    """A dataclass that says what was compiled, and for what."""

    @property
    def cost(self) -> Cost: ...


@dataclass(frozen=True, slots=True)
class Form:
    """A kernel that only reads and writes, as one tower needs it."""

    architecture: int
    dtype: str
    name: str
    warps: int
    cost: Cost


FORMS: dict[str, Callable[[Form], object]] = {
    "sm": lambda row: row.architecture,
    "dtype": lambda row: row.dtype,
    "form": lambda row: row.name,
    "warps": lambda row: row.warps,
}
"""Columns of their table."""

Row = TypeVar("Row", bound=Compiled)

COST: dict[str, Callable[[Cost], object]] = {
    "registers": lambda cost: cost.registers,
    "spilled": lambda cost: cost.spill_bytes,
    "shared KB": lambda cost: f"{cost.shared_bytes / 1024:.0f}",
}


def main(
    description: str | None,
    compile_all: Callable[[], Iterable[Row]],
    columns: Mapping[str, Callable[[Row], object]],
) -> int:
    """Print a row for each of `compile_all()`, its `columns` and then its cost; 1 if any spills, else 0."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="rows as JSON instead of a table")
    as_json = parser.parse_args().json
    rows: list[Any] = list(compile_all())
    print(json.dumps([asdict(row) for row in rows], indent=1) if as_json else table(rows, columns))
    return 1 if any(row.cost.spill_bytes for row in rows) else 0


def table(rows: Iterable[Row], columns: Mapping[str, Callable[[Row], object]]) -> str:
    """In Markdown."""
    lines = [[*columns, *COST], ["---"] * (len(columns) + len(COST))]
    for row in rows:
        said = [read(row) for read in columns.values()]
        lines.append([str(cell) for cell in (*said, *(read(row.cost) for read in COST.values()))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
