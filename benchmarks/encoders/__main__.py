"""The whole encoder against plain transformers: `python -m benchmarks.encoders` needs no arguments.

Each case's rows are written before the next begins. Exit status 0 when every gate is green, 1 when one is not: that
encoder is named and not timed; 3 when `--limit` left cases out.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.encoders import bench
from kernels.bench import add_options, setting
from kernels.blocks.choice import BODIES
from kernels.publish import publish
from kernels.runner import ATTENTIONS
from kernels.towers.towers import SMALL, TOWERS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoders", description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--encoder",
        choices=[one.name for one in (*TOWERS, *SMALL)],
        action="append",
        default=[],
        help="only this one; may be repeated (default: all on a GPU, ViT-B/16-224 on a CPU)",
    )
    parser.add_argument(
        "--batch", type=int, action="append", default=[], help="only batches of this size; may be repeated"
    )
    parser.add_argument(
        "--body", choices=("auto", *BODIES), default="auto", help="who runs our blocks (default: %(default)s)"
    )
    parser.add_argument(
        "--attention",
        choices=ATTENTIONS,
        default="auto",
        help="our blocks' attention on a GPU; transformers' is PyTorch's choice (default: %(default)s)",
    )
    parser.add_argument(
        "--patience",
        type=float,
        metavar="SECONDS",
        help="for the rounds of the whole of a case, and a half of it for each part (default: "
        f"{bench.PATIENCE:.0f} on a GPU, {bench.PATIENCE_ON_CPU:.0f} on a CPU)",
    )
    options = parser.parse_args(arguments)
    device, rounds, machine = setting(options)
    chosen = bench.Options(
        encoders=options.encoder,
        batches=options.batch,
        body=options.body,
        attention=options.attention,
        patience=options.patience,
    )
    return publish(bench.run(device, rounds, machine, chosen), options.write, options.limit)


if __name__ == "__main__":
    sys.exit(main())
