"""What to run when a GPU is at hand for some minutes; each step has a limit, a log and rows that are written at once.

kernels: needs the checkout alone. engine: the whole service on vLLM, installed or out of an archive. Exit status 0: all
steps ran and nothing was wrong; 1: one was, or did not end in time; 2: something is missing, and nothing was run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu import engine, kernels, needs
from benchmarks.gpu.course import Course
from benchmarks.gpu.step import Step
from benchmarks.gpu.steps.rows import FACTS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "gpu"
REHEARSALS = Path(tempfile.gettempdir()) / "patchbay-gpu"
SECONDS = {"kernels": 390.0, "engine": 260.0}
REHEARSAL_SECONDS = 3600.0
SLOW = 10.0
"""Times a step's limit is what it has in a rehearsal, on a machine of any kind."""
FACTS_SECONDS = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # so that a step that is running is ended with this process: it has a session of its own
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if missing := needs.without_packages(needs.KERNELS if options.part == "kernels" else needs.ENGINE):
        return _refuse(missing)
    facts = facts_of(options.commit, rehearsal=options.rehearse)
    missing = needs.without_commit(str(facts["commit"]))
    if not options.rehearse and facts["gpu"] == "none":
        missing.append(str(facts["no_gpu"]))
    if options.part == "engine":
        missing += needs.without_engine(options.archive)
    if missing:
        return _refuse(missing)
    into = options.into or (REHEARSALS if options.rehearse else RESULTS)
    results = (into / folder_name(facts) / options.part).absolute()
    unpacked = options.unpack.absolute() if options.archive else None
    steps = chosen(steps_of(options, results, str(facts["commit"])), options.only)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", FACTS: json.dumps(facts)}
    course = Course(
        results=results,
        folder=ROOT,
        seconds=options.limit or (REHEARSAL_SECONDS if options.rehearse else SECONDS[options.part]),
        facts=facts,
        environment=engine.environment(environment, ROOT, unpacked),
        pack=options.pack,
    )
    print(", ".join(f"{name} {value}" for name, value in facts.items() if value), flush=True)
    outcomes = course.follow(steps)
    print(f"rows and logs: {results}", flush=True)
    return 0 if all(outcome.status == "ok" for outcome in outcomes) else 1


def steps_of(options: argparse.Namespace, results: Path, commit: str) -> list[Step]:
    if options.part == "kernels":
        steps = kernels.steps(results, commit, rehearsal=options.rehearse)
    else:
        steps = engine.steps(results, options.archive, options.unpack.absolute(), rehearsal=options.rehearse)
    return [replace(step, seconds=SLOW * step.seconds) for step in steps] if options.rehearse else steps


def chosen(steps: list[Step], names: Sequence[str]) -> list[Step]:
    """The steps of these names, and those that they need; all without a name. Raises SystemExit for an unknown one."""
    known = {step.name: step for step in steps}
    if unknown := [name for name in names if name not in known]:
        print(f"--only: got {unknown[0]!r}, allowed are {', '.join(known)}", file=sys.stderr)
        raise SystemExit(2)
    wanted = set(names or known)
    for step in reversed(steps):
        if step.name in wanted:
            wanted |= set(step.after)
    return [step for step in steps if step.name in wanted]


def facts_of(commit: str, *, rehearsal: bool) -> dict[str, Any]:
    """Of the machine; found by another process, so that a driver that hangs or crashes does not end this one."""
    command = [sys.executable, "-m", "benchmarks.gpu.machine", "--commit", commit]
    command += ["--rehearse"] if rehearsal else []
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=FACTS_SECONDS, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def folder_name(facts: dict[str, Any]) -> str:
    """Of the GPU and the commit, so that runs on several lie side by side."""
    card = "rehearsal" if facts["rehearsal"] else facts["gpu"]
    return re.sub(r"[^a-z0-9]+", "-", f"{card}-{facts['commit']}".lower()).strip("-")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("part", nargs="?", choices=SECONDS, default="kernels", help="default %(default)s")
    made.add_argument(
        "--rehearse",
        action="store_true",
        help="the same steps on the CPU, at tiny sizes; says nothing about speed",
    )
    made.add_argument(
        "--commit", default="", help="what is measured (default: the checkout's, where it has its history)"
    )
    limits = ", ".join(f"{seconds:.0f} for {part}" for part, seconds in SECONDS.items())
    made.add_argument("--limit", type=float, metavar="SECONDS", help=f"for all steps (default {limits})")
    made.add_argument(
        "--only", action="append", default=[], metavar="STEP", help="and those that it needs; may be repeated"
    )
    made.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help=f"gets a folder for the GPU and the commit (default {RESULTS.relative_to(ROOT)}, rehearsals {REHEARSALS})",
    )
    made.add_argument(
        "--pack",
        type=Path,
        metavar="FILE",
        help="also rows and logs as one .tar.gz, written again after each step",
    )
    made.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="engine: a .tar.xz of vLLM, made by benchmarks/gpu/bundle",
    )
    made.add_argument(
        "--unpack",
        type=Path,
        default=Path(tempfile.gettempdir()) / "patchbay-vllm",
        metavar="FOLDER",
        help="engine: where the archive is unpacked (default %(default)s)",
    )
    return made


def _refuse(missing: Sequence[str]) -> int:
    for sentence in missing:
        print(f"python -m benchmarks.gpu: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
