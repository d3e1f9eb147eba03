"""Measures accuracy on grounds of each colour, through HTTP or offline: `python -m demo.evaluate_grounds --help`."""

from __future__ import annotations

import json
import sys

import httpx

from demo.cases import GroundLine, draw_ground_cases, judge_grounds
from demo.evaluate import arguments, ask_all


def table(lines: list[GroundLine]) -> str:
    """The result for people: a row for each ground, a column for each kind of question."""
    columns = list(lines[0].kinds)
    rows = [f"{'ground':<12}{'right':>9}{'accuracy':>11}" + "".join(f"{kind:>12}" for kind in columns)]
    for line in lines:
        kinds = "".join(f"{100 * line.share(kind):>10.1f} %" for kind in columns)
        total = f"{f'{line.right}/{line.asked}':>9}{100 * line.share():>9.1f} %"
        rows.append(f"{line.ground:<12}{total}{kinds}{'' if line.passed else '  FAILED'}")
    return "\n".join(rows)


def record(lines: list[GroundLine]) -> dict[str, object]:
    """The result for programs: right and asked by ground and kind."""
    return {
        line.ground: {
            "passed": line.passed,
            "kinds": {kind: {"right": right, "asked": asked} for kind, (right, asked) in line.kinds.items()},
        }
        for line in lines
    }


def main() -> int:
    """Runs the command and returns its exit status."""
    args = arguments(
        "demo.evaluate_grounds",
        "Ask the service (or, with --model, a checkpoint directly) about shapes on white, black, vivid, grey and pale "
        "grounds, in scenes it was never trained on, and compare accuracy on each ground with what is asked of it.",
        questions=100,
        meaning="questions on each ground",
    )
    cases = draw_ground_cases(args.n, args.seed)
    try:
        answers = ask_all(args, [case for _, case in cases])
    except (httpx.HTTPError, RuntimeError, OSError) as failed:
        print(f"could not ask: {failed}", file=sys.stderr)
        return 2
    lines = judge_grounds(cases, answers)
    print(table(lines))
    if args.json is not None:
        args.json.write_text(json.dumps(record(lines), indent=1) + "\n")
    return 1 if any(not line.passed for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
