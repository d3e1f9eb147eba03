"""What a command has started, wherever it has gone: servers begin sessions of their own, and outlive their parents.

Linux only: read from /proc. A process belongs to a step if it carries the step's mark in its environment, which
children inherit; or if its parent does, or the leader of its session, for those that write over their environment to
change their title.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "BENCHMARK_STEP"
PROC = Path("/proc")
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    session: int
    marked: bool


def offspring(mark: str, known: Iterable[int] = ()) -> set[int]:
    """Processes that run and belong to the step with this mark, or to those `known`."""
    there = list(running(mark))
    found = {each.pid for each in there if each.marked} | set(known)
    while True:
        more = {each.pid for each in there if each.parent in found or each.session in found} - found
        if not more:
            return found & {each.pid for each in there}
        found |= more


def running(mark: str) -> Iterable[Process]:
    wanted = f"{MARK}={mark}".encode()
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):  # it has ended meanwhile, or is somebody else's
            # after the name, which may hold anything in parentheses: state, parent, group, session
            state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX":
                own = wanted in (folder / "environ").read_bytes().split(b"\0")
                yield Process(int(folder.name), int(parent), int(session), own)


def end(mark: str, known: Iterable[int], seconds: float) -> None:
    """Asks all of them to end, and after `seconds` ends those that are left."""
    seen = set(known)
    deadline = time.monotonic() + seconds
    asked: set[int] = set()
    while (there := offspring(mark, seen)) and time.monotonic() < deadline:
        _signal(there - asked, signal.SIGTERM)
        asked |= there
        seen |= there
        # nothing tells when processes end that are not our children
        time.sleep(LOOK_SECONDS)
    _signal(there, signal.SIGKILL)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
