"""What the kernel counts of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.engine.oom import LATELY, OomWatch, oom_kills

EVENTS = "low 0\nhigh 12\nmax 40\noom 3\noom_kill 2\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("text", "count"), [(EVENTS, 2), ("low 0\nhigh 0\nmax 0\noom 0\n", 0), ("", 0), ("nonsense", 0)]
)
def test_kills_are_counted_where_the_kernel_counts_them(tmp_path: Path, text: str, count: int) -> None:
    file = tmp_path / "memory.events"
    assert oom_kills(file) == 0
    file.write_text(text)
    assert oom_kills(file) == count


def test_a_kill_is_recent_from_when_it_is_seen() -> None:
    now, count = 100.0, 5
    watch = OomWatch(lambda: now, lambda: count)
    assert not watch.lately(), "what was before is not lately"
    count = 6
    watch.look()
    now += LATELY / 2
    assert watch.lately()
    now += LATELY / 2
    assert not watch.lately()
    count = 7
    assert watch.lately()
