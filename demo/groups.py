"""Accuracy by groups of cases: what the commands that report it share."""

from __future__ import annotations

import argparse
import json
import sys

import httpx

from demo.cases import Case, GroupLine, judge_groups
from demo.evaluate import ask_all


def table(header: str, lines: list[GroupLine]) -> str:
    """The result for people: a row for each group, a column for each kind of question."""
    columns = list(lines[0].kinds)
    rows = [f"{header:<12}{'right':>9}{'accuracy':>11}" + "".join(f"{kind:>12}" for kind in columns)]
    for line in lines:
        kinds = "".join(f"{100 * line.share(kind):>10.1f} %" for kind in columns)
        total = f"{f'{line.right}/{line.asked}':>9}{100 * line.share():>9.1f} %"
        rows.append(f"{line.group:<12}{total}{kinds}{'' if line.passed else '  FAILED'}")
    return "\n".join(rows)


def record(lines: list[GroupLine]) -> dict[str, object]:
    """The result for programs: right and asked by group and kind."""
    return {
        line.group: {
            "passed": line.passed,
            "kinds": {kind: {"right": right, "asked": asked} for kind, (right, asked) in line.kinds.items()},
        }
        for line in lines
    }


def report(args: argparse.Namespace, header: str, cases: list[tuple[str, Case]]) -> int:
    """Asks, prints and writes what `args` name; returns the command's exit status."""
    try:
        answers = ask_all(args, [case for _, case in cases])
    except (httpx.HTTPError, RuntimeError, OSError) as failed:
        print(f"could not ask: {failed}", file=sys.stderr)
        return 2
    lines = judge_groups(cases, answers)
    print(table(header, lines))
    if args.json is not None:
        args.json.write_text(json.dumps(record(lines), indent=1) + "\n")
    return 1 if any(not line.passed for line in lines) else 0
