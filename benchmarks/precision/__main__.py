"""The encoder in int8 against full precision: `python -m benchmarks.precision` needs no arguments.

First the gate: at least 99 % of the embedded model's answers unchanged. Then towers of tiles, from uint8 tiles to soft
tokens, in turns within one process: checkpoints of real shapes with random weights (`benchmarks.race.checkpoints`), and
the embedded model's. Exit status 1 when the gate is red, and nothing is timed; or when the soft tokens of a tower are
too far off, and that one is not. For the answers of the families' tiny checkpoints see `make families`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.precision.answers import UNCHANGED, Answers, compare
from benchmarks.precision.speed import Case, Took, measure, quartiles
from benchmarks.race.checkpoints import checkpoint
from demo.cases import draw_cases
from demo.offline import Reference
from service.settings import EMBEDDED_MODEL

EMBEDDED = "embedded"
SHAPES = (EMBEDDED, "tiles-vit-b-16", "vit-l-14-336")
HEAD = """
| tower | dtype | tiles | error | full, ms | int8, ms | ratio | ratio of processor time |
|---|---|---|---|---|---|---|---|"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.precision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shapes", nargs="*", metavar="shape", help=f"default: {', '.join(SHAPES)}")
    parser.add_argument("--questions", type=int, default=300, help="of the gate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the questions (default: %(default)s)")
    parser.add_argument("--tiles", type=int, nargs="+", default=[1, 8], help="in a batch (default: 1 8)")
    parser.add_argument("--rounds", type=int, default=11, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "patchbay-checkpoints",
        help="where the checkpoints are, or are made (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.shapes) - set(SHAPES):
        parser.error(f"shape: got {', '.join(sorted(unknown))}, allowed are {', '.join(SHAPES)}")
    torch.set_num_threads(options.threads)
    answers = compare(Reference(Path(EMBEDDED_MODEL)), draw_cases(options.questions, options.seed))
    print(told(answers), flush=True)
    if not answers.passed:
        print(f"fewer than {UNCHANGED:.0%} are unchanged: nothing is timed", file=sys.stderr)
        return 1
    print(HEAD, flush=True)
    passed = True
    for shape in options.shapes or SHAPES:
        folder = Path(EMBEDDED_MODEL) if shape == EMBEDDED else checkpoint(shape, options.folder)
        for case in measure(shape, folder, own_dtype(folder), options.tiles, options.rounds):
            print(row(case), flush=True)
            passed &= case.passed
    return 0 if passed else 1


def own_dtype(folder: Path) -> str:
    """The number format that the checkpoint's config.json names."""
    return str(json.loads((folder / "config.json").read_text())["dtype"])


def told(answers: Answers) -> str:
    full, less = answers.right
    lines = [
        f"{answers.asked - len(answers.changed)} of {answers.asked} answers of the embedded model are unchanged; "
        f"right are {full} in full precision, {less} in int8",
        *(f"  {question} {one!r}, in int8 {other!r}" for question, one, other in answers.changed),
    ]
    return "\n".join(lines)


def row(case: Case) -> str:
    start = f"| {case.tower} | {case.dtype} | {case.tiles} | {100 * case.error:.2f} % |"
    if not case.passed:
        return f"{start} too far off, or not at all: not timed |"
    wall, processor = (
        "{1:.2f} ({0:.2f}–{2:.2f})".format(*quartiles(case.ratios(part))) for part in ("wall", "processor")
    )
    return f"{start} {milliseconds(case.full)} | {milliseconds(case.int8)} | {wall} | {processor} |"


def milliseconds(seen: tuple[Took, ...] | list[Took]) -> str:
    """Median and quartiles of the wall time."""
    low, middle, high = (1e3 * value for value in quartiles([took.wall for took in seen]))
    return f"{middle:.1f} ({low:.1f}–{high:.1f})"


if __name__ == "__main__":
    sys.exit(main())
