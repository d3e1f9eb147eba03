"""Every kernel's benchmark, case by case: correctness gate first, then its rows. `python -m kernels.bench` needs no
arguments.

Each case's rows are printed and written before the next begins. Exit status 0 when every gate is green, 1 when one is
not: that kernel is named and not timed; 2 when no case is selected, 3 when `--limit` left cases out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch

from kernels.activation import bench as activation
from kernels.add_norm import bench as add_norm
from kernels.patch_embed import bench as patch_embed
from kernels.project import bench as project
from kernels.publish import publish
from kernels.report import Machine, Report, describe_machine
from kernels.rotary import bench as rotary
from kernels.selection import Selection


class Run(Protocol):
    """A kernel's benchmark."""

    def __call__(
        self, device: torch.device, rounds: int, machine: Machine, only: Selection = ...
    ) -> Iterator[Report]:
        """A report for each case, made when it is asked for."""
        ...


KERNELS: dict[str, Run] = {
    "activation": activation.run,
    "add_norm": add_norm.run,
    "patch_embed": patch_embed.run,
    "project": project.run,
    "rotary": rotary.run,
}


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
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        help="only shapes of this name; may be repeated (default: all)",
    )
    parser.add_argument(
        "--batch", type=int, action="append", default=[], help="only batches of this size; may be repeated"
    )
    options = parser.parse_args(arguments)
    device, rounds, machine = setting(options)
    only = Selection(tuple(options.shape), tuple(options.batch))
    reports = (
        report
        for name in options.kernel or KERNELS
        for report in KERNELS[name](device, rounds, machine, only)
    )
    return publish(reports, options.write, options.limit)


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
        help="also write the rows, as .csv or .json, after each case; may be repeated",
    )
    parser.add_argument(
        "--limit",
        type=float,
        metavar="SECONDS",
        help="begin no further case after so long (default: no limit)",
    )
    parser.add_argument(
        "--commit",
        default="",
        help="what the rows say was measured (default: the checkout's, where it has its history)",
    )


def setting(options: argparse.Namespace) -> tuple[torch.device, int, Machine]:
    """Device, rounds and machine, which are printed."""
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rounds = options.rounds or (100 if device.type == "cuda" else 21)
    machine = describe_machine(device, options.commit)
    print(", ".join(f"{name} {value}" for name, value in asdict(machine).items() if value != ""))
    print(f"{rounds} rounds, providers in turns; times per call at the 20th, 50th and 80th percentile\n")
    return device, rounds, machine


def _table_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".csv", ".json"):
        raise argparse.ArgumentTypeError(f"{text}: must end in .csv or .json")
    return path


if __name__ == "__main__":
    sys.exit(main())
