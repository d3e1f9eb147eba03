"""Every kernel's benchmark: correctness gate first, then one table. `python -m kernels.bench` needs no arguments.

Exit status 0 when every gate is green; a kernel that is wrong is named and not timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from kernels.patch_embed import bench as patch_embed
from kernels.project import bench as project
from kernels.rows import Machine, Report, Row, describe_machine, table, write

KERNELS: dict[str, Callable[[torch.device, int, Machine], Report]] = {
    "patch_embed": patch_embed.run,
    "project": project.run,
}


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rounds = options.rounds or (100 if device.type == "cuda" else 21)
    machine = describe_machine(device)
    print(", ".join(f"{name} {value}" for name, value in asdict(machine).items() if value != ""))
    print(f"{rounds} rounds, providers in turns; times per call at the 20th, 50th and 80th percentile\n")
    rows: list[Row] = []
    failures: list[str] = []
    for run in KERNELS.values():
        report = run(device, rounds, machine)
        rows += report.rows
        failures += report.failures
    print(table(rows))
    for path in options.write:
        write(rows, path)
    for failure in failures:
        print(f"GATE RED, not timed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kernels.bench", description=__doc__)
    parser.add_argument(
        "--device", help="a torch device; by default the first GPU if there is one, else the CPU"
    )
    parser.add_argument(
        "--rounds", type=int, help="timed calls per provider (default: 100 on a GPU, 21 on a CPU)"
    )
    parser.add_argument(
        "--write",
        type=_table_path,
        action="append",
        default=[],
        metavar="FILE",
        help="also write the rows, as .csv or .json; may be repeated",
    )
    return parser


def _table_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".csv", ".json"):
        raise argparse.ArgumentTypeError(f"{text}: must end in .csv or .json")
    return path


if __name__ == "__main__":
    sys.exit(main())
