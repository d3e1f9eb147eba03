"""Every kernel's benchmark: correctness gate first, then one table. `python -m kernels.bench` needs no arguments.

Exit status 0 when every gate is green; a kernel that is wrong is named and not timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from kernels.patch_embed import bench as patch_embed
from kernels.project import bench as project
from kernels.report import Machine, Report, Row, describe_machine, table, write

Run = Callable[[torch.device, int, Machine], Report]
KERNELS: dict[str, Run] = {"patch_embed": patch_embed.run, "project": project.run}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kernels.bench", description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--kernel",
        choices=KERNELS,
        action="append",
        default=[],
        help="only this one; may be repeated (default: all)",
    )
    options = parser.parse_args(arguments)
    device, rounds, machine = setting(options)
    return publish(
        (KERNELS[name](device, rounds, machine) for name in options.kernel or KERNELS), options.write
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of every benchmark."""
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


def setting(options: argparse.Namespace) -> tuple[torch.device, int, Machine]:
    """Device, rounds and machine, which are printed."""
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rounds = options.rounds or (100 if device.type == "cuda" else 21)
    machine = describe_machine(device)
    print(", ".join(f"{name} {value}" for name, value in asdict(machine).items() if value != ""))
    print(f"{rounds} rounds, providers in turns; times per call at the 20th, 50th and 80th percentile\n")
    return device, rounds, machine


def publish(reports: Iterable[Report], files: Sequence[Path]) -> int:
    """Prints the rows and the notes, writes the rows, and names what may not be timed; the exit status."""
    rows: list[Row] = []
    failures: list[str] = []
    notes: list[str] = []
    for report in reports:
        rows += report.rows
        failures += report.failures
        notes += report.notes
    print(table(rows), *notes, sep="\n")
    for path in files:
        write(rows, path)
    for failure in failures:
        print(f"GATE RED, not timed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _table_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".csv", ".json"):
        raise argparse.ArgumentTypeError(f"{text}: must end in .csv or .json")
    return path


if __name__ == "__main__":
    sys.exit(main())
