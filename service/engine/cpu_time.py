"""CPU time of the engine's computing processes, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

COMPUTING = "VLLM::"
"""How vLLM names the processes of its core and its workers; its server keeps the interpreter's name."""
TICKS = os.sysconf("SC_CLK_TCK")
SESSION, USER_TIME, SYSTEM_TIME = 3, 11, 12
"""Fields of /proc/PID/stat, counted from the one behind the name: see proc(5)."""


def cpu_seconds(session: int | None, *, proc: Path = Path("/proc")) -> float:
    """User and system time of all computing processes of a session so far; 0 where there are none."""
    if session is None:
        return 0.0
    return sum(_seconds(folder / "stat", session) for folder in proc.iterdir() if folder.name.isdecimal())


def _seconds(stat: Path, session: int) -> float:
    try:
        text = stat.read_text()
    except OSError:
        return 0.0
    # the name is in parentheses and may contain any character
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    if not name.startswith(COMPUTING) or int(fields[SESSION]) != session:
        return 0.0
    return (int(fields[USER_TIME]) + int(fields[SYSTEM_TIME])) / TICKS
