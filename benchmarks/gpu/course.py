"""Steps one after the other within one limit; what became of each is written before the next begins."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gpu.step import Outcome, Step, run

RECORDS = "steps.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Where and for how long steps run."""

    results: Path
    """A folder that gets `steps.jsonl` and a log for each step; steps write there, too."""
    folder: Path
    """In which they run: the checkout."""
    seconds: float
    """For all of them."""
    facts: Mapping[str, object]
    """Of the machine; in every record."""
    environment: Mapping[str, str]
    pack: Path | None = None
    """A .tar.gz of `results`, written again after each step."""
    clock: Callable[[], float] = time.monotonic

    def follow(self, steps: Sequence[Step]) -> list[Outcome]:
        """Runs the steps, and leaves out those that cannot work or for which no time is left."""
        ends = self.clock() + self.seconds
        outcomes: dict[str, Outcome] = {}
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / RECORDS).write_text("")
        for number, step in enumerate(steps, 1):
            log = self.results / f"{number:02}-{step.name}.log"
            left = ends - self.clock()
            if obstacle := _obstacle(step, left, outcomes):
                outcome = Outcome(step.name, "left out", 0.0, None, obstacle)
            else:
                print(f"{step.name}: {step.what}, at most {min(step.seconds, left):.0f} s", flush=True)
                outcome = run(step, min(step.seconds, left), log, self.folder, self.environment)
            outcomes[step.name] = outcome
            print(f"{step.name}: {words(outcome)}", flush=True)
            self._record(step, outcome)
        return list(outcomes.values())

    def _record(self, step: Step, outcome: Outcome) -> None:
        record = asdict(outcome) | {"command": " ".join(step.command)} | dict(self.facts)
        record["seconds"] = round(outcome.seconds, 1)
        with (self.results / RECORDS).open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self.pack is not None:
            pack(self.results, self.pack)


def words(outcome: Outcome) -> str:
    took = f" after {outcome.seconds:.0f} s" if outcome.status != "left out" else ""
    return f"{outcome.status}{took}{': ' if outcome.reason else ''}{outcome.reason}"


def pack(folder: Path, archive: Path) -> None:
    """`folder` as a .tar.gz, in place of what was there; never half of one."""
    unfinished = archive.with_name(f".{archive.name}.part")
    with tarfile.open(unfinished, "w:gz") as file:
        file.add(folder, arcname=folder.name)
    unfinished.replace(archive)


def _obstacle(step: Step, left: float, outcomes: Mapping[str, Outcome]) -> str:
    """Why a step is left out; empty where it is not."""
    for name in step.after:
        if outcomes[name].status != "ok":
            return f"needs {name}, which is {outcomes[name].status}"
    if left < step.least:
        return f"{max(0.0, left):.0f} s are left, and it needs {step.least:.0f}"
    return ""
