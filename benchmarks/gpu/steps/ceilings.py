"""What this GPU does at its best here: bytes copied within its memory, and bf16 products of square matrices.

The shares that other rows name are of these. Random numbers: products of zeros draw less power and run faster.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.steps.rows import add
from kernels.measure import Call, alternate, percentiles

ROUNDS = 20
MEGABYTES = (64, 1024, 4096)
SIDES = (4096, 8192)
TINY = ((1,), (64,))
"""Of a rehearsal."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.steps.ceilings", description=__doc__)
    parser.add_argument("--device", default="cuda", help="a torch device (default: %(default)s)")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="gets a JSON object a line")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    megabytes, sides = (MEGABYTES, SIDES) if device.type == "cuda" else TINY
    for each in megabytes:
        p50 = _median(_copy(each * 2**20, device), device)
        add(options.write, ceiling="copy", megabytes=each, gbytes_per_s=2 * each * 2**20 / p50 / 1e3)
    for side in sides:
        p50 = _median(_product(side, device), device)
        add(options.write, ceiling="bf16 product", side=side, tflops=2 * side**3 / p50 / 1e6)
    return 0


def _copy(size: int, device: torch.device) -> Call:
    source = torch.empty(size, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _product(side: int, device: torch.device) -> Call:
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def _median(call: Call, device: torch.device) -> float:
    """µs"""
    seconds = alternate({"": call}, ROUNDS, device, "graph" if device.type == "cuda" else "eager")
    return percentiles(seconds[""])[1]


if __name__ == "__main__":
    sys.exit(main())
