"""Whether the kernel has lately killed a process of this container for want of memory.

vLLM's server exits with status 0 when the process with its model was killed, so that nothing else tells.
https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

EVENTS = Path("/sys/fs/cgroup/memory.events")
"""Of the container's own group, which is the root of what it sees."""
LATELY = 60.0
"""Seconds. An engine that lost a process may answer for a while before it ends, or is found stuck."""


def oom_kills(events: Path = EVENTS) -> int:
    """Since the container was started; 0 where it cannot be known: with cgroups of version 1, or outside containers."""
    try:
        counts = dict(line.split() for line in events.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(counts.get("oom_kill", 0))


class OomWatch:
    """To be asked now and then, since the kernel counts and does not say when."""

    def __init__(self, clock: Callable[[], float], count: Callable[[], int] = oom_kills) -> None:
        self._clock = clock
        self._count = count
        self._seen = count()
        self._rose_at = float("-inf")

    def look(self) -> None:
        now_there = self._count()
        if now_there > self._seen:
            self._rose_at = self._clock()
        self._seen = now_there

    def lately(self) -> bool:
        """Whether a process was killed within LATELY seconds."""
        self.look()
        return self._clock() - self._rose_at < LATELY
