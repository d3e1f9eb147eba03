"""Measures how often what is there is seen, and what is not there denied, by the number of things in a picture, through
HTTP or offline: `python -m demo.evaluate_presence --help`."""

from __future__ import annotations

import sys

from demo.cases import draw_presence_cases
from demo.evaluate import arguments
from demo.groups import report


def main() -> int:
    """Runs the command and returns its exit status."""
    args = arguments(
        "demo.evaluate_presence",
        "Ask the service (or, with --model, a checkpoint directly) whether something is there, in scenes of one to "
        "five things that it was never trained on, and compare accuracy for each number with what is asked of it.",
        questions=100,
        meaning="questions for each number of things, half of them to be answered with yes",
    )
    return report(args, "things", draw_presence_cases(args.n, args.seed))


if __name__ == "__main__":
    sys.exit(main())
