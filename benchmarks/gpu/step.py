"""A step: a command with a limit and a log of its own, and what became of it."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.gpu import offspring

END_SECONDS = 10.0
"""Between asking a step to end and ending it."""
TAIL = 400
"""Characters of the log that a step which failed is told with."""

Status = Literal["ok", "failed", "out of time", "left out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    name: str
    """Also of its log."""
    what: str
    """For people."""
    command: Sequence[str]
    seconds: float
    """Its limit."""
    after: Sequence[str] = ()
    """Steps without which it cannot work."""
    least: float = 10.0
    """Seconds below which it is not worth beginning."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    step: str
    status: Status
    seconds: float
    exit_status: int | None
    """None where it was not run, or was ended."""
    reason: str
    """Empty where it is ok."""


def run(step: Step, seconds: float, log: Path, folder: Path, environment: Mapping[str, str]) -> Outcome:
    """Runs the command in `folder` for at most `seconds`; everything that it prints is in `log` as it comes.

    A step that does not end is asked to, then ended. So is whatever a step has started, also where the step itself has
    ended: a server that it left behind would keep the GPU from the next.
    """
    began, mark = time.monotonic(), secrets.token_hex(8)
    with log.open("wb") as stream:
        stream.write(f"$ {' '.join(step.command)}\n".encode())
        stream.flush()
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**environment, **step.environment, offspring.MARK: mark},
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            ended = process.poll()
            offspring.end(mark, [process.pid] if ended is None else [], END_SECONDS)
            process.wait()
    taken = time.monotonic() - began
    if ended is None:
        return Outcome(step.name, "out of time", taken, None, f"did not end within {seconds:.0f} s")
    if ended:
        return Outcome(step.name, "failed", taken, ended, _tail(log))
    return Outcome(step.name, "ok", taken, 0, "")


def _tail(log: Path) -> str:
    text = log.read_bytes()[-8 * TAIL :].decode(errors="replace")
    return " ".join(text.split())[-TAIL:]
