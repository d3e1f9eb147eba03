"""Measures accuracy on grounds of each colour, through HTTP or offline: `python -m demo.evaluate_grounds --help`."""

from __future__ import annotations

import sys

from demo.cases import draw_ground_cases
from demo.evaluate import arguments
from demo.groups import report


def main() -> int:
    """Runs the command and returns its exit status."""
    args = arguments(
        "demo.evaluate_grounds",
        "Ask the service (or, with --model, a checkpoint directly) about shapes on white, black, vivid, grey and pale "
        "grounds, in scenes it was never trained on, and compare accuracy on each ground with what is asked of it.",
        questions=100,
        meaning="questions on each ground",
    )
    return report(args, "ground", draw_ground_cases(args.n, args.seed))


if __name__ == "__main__":
    sys.exit(main())
