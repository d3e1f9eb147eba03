"""The whole encoder against plain transformers: `python -m benchmarks.encoders` needs no arguments.

Exit status 0 when every gate is green; an encoder that is wrong is named and not timed.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.encoders import bench
from kernels.bench import add_options, publish, setting
from kernels.towers.towers import TOWERS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoders", description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--encoder",
        choices=[one.name for one in TOWERS],
        action="append",
        default=[],
        help="only this one; may be repeated (default: all on a GPU, ViT-B/16-224 on a CPU)",
    )
    parser.add_argument(
        "--batch", type=int, action="append", default=[], help="only batches of this size; may be repeated"
    )
    options = parser.parse_args(arguments)
    device, rounds, machine = setting(options)
    report = bench.run(device, rounds, machine, only=options.encoder, batches=options.batch)
    return publish([report], options.write)


if __name__ == "__main__":
    sys.exit(main())
