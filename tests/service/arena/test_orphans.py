"""Files that a killed server left, beside those of living ones, also of one that is about to start."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from service.arena import ArenaSpec, ArenaStore, arena_name, remove_orphans, store
from service.errors import ConfigurationError

SPEC = ArenaSpec(width=3, dtype="float32", page_rows=4, pages=6, slots=5, max_pages=3)


def leave(folder: Path, name: str) -> Path:
    """What a killed server leaves: a file that nobody holds."""
    (folder / name).write_bytes(b"x")
    return folder / name


def test_what_nobody_owns_is_removed_half_made_or_whole(tmp_path: Path) -> None:
    left = [leave(tmp_path, arena_name(8000)), leave(tmp_path, arena_name(8001) + "k3_2abcd")]
    assert remove_orphans(str(tmp_path)) == [str(path) for path in left]
    assert not list(tmp_path.iterdir())


def test_what_is_owned_or_of_others_stays(tmp_path: Path) -> None:
    others = leave(tmp_path, f"patchbay-8000-{os.getuid() + 1}.arena")
    foreign = leave(tmp_path, "other.arena")
    (tmp_path / arena_name(1)).mkdir()
    (tmp_path / arena_name(2)).symlink_to(foreign)
    os.mkfifo(tmp_path / arena_name(3))
    living = ArenaStore(str(tmp_path / arena_name(8000)), SPEC)
    before = sorted(tmp_path.iterdir())
    assert remove_orphans(str(tmp_path)) == []
    assert sorted(tmp_path.iterdir()) == before
    assert others.exists() and os.path.exists(living.path)
    living.close()


def test_a_file_that_is_taken_for_an_orphan_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    lock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        if not removed:
            removed.extend(remove_orphans(str(tmp_path)))
        lock(descriptor, how)

    monkeypatch.setattr(store.fcntl, "flock", late)
    monkeypatch.setattr("service.arena.orphans.fcntl", Real(lock))
    made = ArenaStore(str(tmp_path / arena_name(8000)), SPEC)
    monkeypatch.undo()
    assert len(removed) == 1
    assert os.listdir(tmp_path) == [arena_name(8000)]
    made.close()
    assert not os.listdir(tmp_path)


class Real:
    """`fcntl` as it was."""

    LOCK_EX, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_NB

    def __init__(self, flock: object) -> None:
        self.flock = flock


def test_whoever_removes_an_orphan_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = leave(tmp_path, arena_name(8000))
    sweeping = path.open()
    fcntl.flock(sweeping, fcntl.LOCK_EX)
    pauses: list[float] = []

    def swept(seconds: float) -> None:
        pauses.append(seconds)
        path.unlink()
        sweeping.close()

    monkeypatch.setattr(store.time, "sleep", swept)
    made = ArenaStore(str(path), SPEC)
    assert len(pauses) == 1 and os.path.exists(path)
    made.close()


def test_an_owner_that_lives_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / arena_name(8000))
    living = ArenaStore(path, SPEC)
    pauses: list[float] = []
    monkeypatch.setattr(store.time, "sleep", pauses.append)
    with pytest.raises(ConfigurationError, match="another process uses the arena"):
        ArenaStore(path, SPEC)
    assert 0 < sum(pauses) <= 1
    living.close()


def test_starts_and_sweeps_side_by_side_lose_no_arena(tmp_path: Path) -> None:
    path = str(tmp_path / arena_name(8000))
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            remove_orphans(str(tmp_path))

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            made = ArenaStore(path, SPEC)
            assert os.stat(path).st_ino == os.fstat(made._descriptor).st_ino
            os.close(made._descriptor)
            del made  # killed: its mapping held the lock too
    finally:
        done.set()
        for thread in threads:
            thread.join()
