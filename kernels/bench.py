"""Every kernel's benchmark: correctness gate first, then one table. `python -m kernels.bench` needs no arguments.

Exit status 0 when every gate is green; a kernel that is wrong is named and not timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from kernels.patch_embed import bench as patch_embed
from kernels.project import bench as project
from kernels.report import Machine, Report, Row, describe_machine, table, write
from kernels.towers import bench as encoder
from kernels.towers.towers import ENCODERS

Run = Callable[[torch.device, int, Machine], Report]
KERNELS: dict[str, Run] = {
    "patch_embed": patch_embed.run,
    "project": project.run,
    "encoder": encoder.run,
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
    notes: list[str] = []
    chosen: dict[str, Run] = {
        **KERNELS,
        "encoder": partial(encoder.run, only=options.encoder, batches=options.batch),
    }
    for name in options.kernel or KERNELS:
        report = chosen[name](device, rounds, machine)
        rows += report.rows
        failures += report.failures
        notes += report.notes
    print(table(rows), *notes, sep="\n")
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
        "--kernel",
        choices=KERNELS,
        action="append",
        default=[],
        help="only this one; may be repeated (default: all)",
    )
    parser.add_argument(
        "--encoder",
        choices=[one.name for one in ENCODERS],
        action="append",
        default=[],
        help="only this one; may be repeated (default: all on a GPU, ViT-B/16-224 on a CPU)",
    )
    parser.add_argument(
        "--batch",
        type=int,
        action="append",
        default=[],
        help="only encoders' batches of this size; may be repeated",
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
