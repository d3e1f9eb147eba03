import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.arena import ArenaLease, ArenaReader, ArenaSpec, ArenaStore
from service.domain import Lease
from service.errors import ArenaFull, ConfigurationError
from tests.waiting import DEADLOCK

SPEC = ArenaSpec(width=3, dtype="float32", page_rows=4, pages=6, slots=5, max_pages=3)


def key(number: int) -> str:
    return f"{number:064x}"


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SPEC.row_bytes), np.uint8)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[ArenaStore]:
    store = ArenaStore(str(tmp_path / "arena"), SPEC, quarantine_seconds=10, clock=clock)
    yield store
    store.close()


def test_what_is_put_is_leased_and_hit(store: ArenaStore) -> None:
    lease: ArenaLease = store.put(key(1), rows(5))
    seam: Lease = lease
    assert not seam.cached
    assert (lease.key, lease.rows, lease.cached) == (key(1), 5, False)
    again = store.lease(key(1))
    assert again is not None and (again.rows, again.cached) == (5, True)
    assert store.lease(key(2)) is None


@pytest.mark.parametrize(
    "wrong",
    [rows(0), rows(13), rows(2)[:, :-1], rows(2)[0], rows(2).view(np.int8)],
    ids=lambda a: str(a.shape),
)
def test_rows_of_a_wrong_shape_are_refused(store: ArenaStore, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"it must be uint8 \[rows, 12\] with 1 to 12 rows"):
        store.put(key(1), wrong)
    assert store.stats().used_bytes == 0


def test_the_least_recently_used_is_evicted_first(store: ArenaStore) -> None:
    for number in (1, 2, 3):
        store.put(key(number), rows(8)).release()
    hit = store.lease(key(1))
    assert hit is not None
    hit.release()
    store.put(key(4), rows(4)).release()
    assert [store.lease(key(number)) is not None for number in (1, 2, 3, 4)] == [True, False, True, True]
    assert store.stats().evictions == 1


def test_leased_entries_are_never_evicted(store: ArenaStore, clock: Clock) -> None:
    held = [store.put(key(number), rows(8)) for number in (1, 2, 3)]
    clock.now = 30
    with pytest.raises(ArenaFull) as full:
        store.put(key(4), rows(1))
    assert full.value.retry_after >= 1
    held[1].release()
    held[1].release()  # harmless: lease 2 of the entry is not taken down
    store.put(key(4), rows(1))
    assert [store.lease(key(number)) is not None for number in (1, 2, 3, 4)] == [True, False, True, True]


def test_releasing_twice_frees_one_lease_only(store: ArenaStore) -> None:
    first, second = store.put(key(1), rows(12)), store.lease(key(1))
    assert second is not None
    first.release()
    first.release()
    store.put(key(2), rows(12))
    with pytest.raises(ArenaFull):
        store.put(key(3), rows(12))
    second.release()
    store.put(key(3), rows(12))


def test_an_aborted_request_keeps_its_rows_for_the_grace_period(store: ArenaStore, clock: Clock) -> None:
    store.put(key(1), rows(12)).release(quarantine=True)
    store.put(key(2), rows(12)).release(quarantine=True)
    assert store.stats().leased_rows == 24
    clock.now = 9.9
    with pytest.raises(ArenaFull):
        store.put(key(3), rows(1))
    clock.now = 10
    assert store.stats().leased_rows == 0
    store.put(key(3), rows(1))
    assert store.lease(key(1)) is None


def test_what_is_forgotten_cannot_be_found_but_is_not_overwritten_while_leased(store: ArenaStore) -> None:
    reader = ArenaReader(store.path)
    old = store.put(key(1), rows(12, seed=1))
    entry = reader.find(key(1))
    assert entry is not None
    store.forget(key(1))
    assert store.lease(key(1)) is None and reader.find(key(1)) is None
    new = store.put(key(1), rows(12, seed=2))
    found = reader.find(key(1))
    assert found is not None
    assert np.array_equal(reader.read(found), rows(12, seed=2))
    assert np.array_equal(reader.read(entry), rows(12, seed=1))
    with pytest.raises(ArenaFull):
        store.put(key(2), rows(1))
    old.release()
    store.put(key(2), rows(1))
    new.release()


def test_slots_run_out_like_pages_do(store: ArenaStore) -> None:
    held = [store.put(key(number), rows(1)) for number in range(5)]
    with pytest.raises(ArenaFull):
        store.put(key(5), rows(1))
    held[2].release()
    store.put(key(5), rows(1))
    assert store.lease(key(2)) is None


def test_a_half_written_entry_is_never_found(store: ArenaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(entry: object, data: object) -> None:
        write(entry, data)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    write = store._write
    monkeypatch.setattr(store, "_write", die)
    with pytest.raises(KeyboardInterrupt):
        store.put(key(1), rows(5))
    assert ArenaReader(store.path).find(key(1)) is None
    assert store.lease(key(1)) is None


def test_two_threads_that_put_one_key_share_one_entry(
    store: ArenaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet = threading.Barrier(2)

    def together(entry: object, data: object) -> None:
        meet.wait(timeout=DEADLOCK)
        write(entry, data)  # type: ignore[arg-type]

    write = store._write
    monkeypatch.setattr(store, "_write", together)
    threads = [threading.Thread(target=store.put, args=(key(1), rows(4))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=DEADLOCK)
    monkeypatch.undo()
    stats = store.stats()
    assert (stats.entries, stats.used_bytes, stats.leased_rows) == (1, SPEC.page_bytes, 4)
    store.put(key(2), rows(12))
    store.put(key(3), rows(8))  # all six pages: the other thread's were given back
    with pytest.raises(ArenaFull):
        store.put(key(4), rows(1))


def test_the_file_is_removed_at_the_end_and_only_if_it_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    first = ArenaStore(str(path), SPEC)
    assert os.stat(path).st_mode & 0o777 == 0o600
    path.unlink()
    second = ArenaStore(str(path), SPEC)
    first.close()
    assert path.exists()
    second.close()
    second.close()
    assert not list(tmp_path.iterdir())


def test_a_path_in_use_is_refused_and_a_dead_owners_file_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "arena")
    program = (
        "import os, sys; from service.arena import ArenaSpec, ArenaStore;"
        f"store = ArenaStore({path!r}, ArenaSpec(3, 'float32', 4, 6, 5, 3));"
        "print('ready', flush=True); sys.stdin.read(); os._exit(9)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "ready\n"
        with pytest.raises(ConfigurationError, match="another process uses the arena"):
            ArenaStore(path, SPEC)
        owner.communicate(timeout=DEADLOCK)
    reader = ArenaReader(path)
    store = ArenaStore(path, SPEC)
    store.put(key(1), rows(5))
    entry = reader.find(key(1))  # the reader follows to the new file
    assert entry is not None and np.array_equal(reader.read(entry), rows(5))
    store.close()


def test_a_place_without_room_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="bytes of shared memory at .*nowhere/arena: No such file"):
        ArenaStore(str(tmp_path / "nowhere" / "arena"), SPEC)
    huge = ArenaSpec(width=2**30, dtype="float32", page_rows=2**10, pages=2**12, slots=1, max_pages=1)
    with pytest.raises(ConfigurationError, match="--shm-size"):
        ArenaStore(str(tmp_path / "arena"), huge)
    assert not list(tmp_path.iterdir())


def test_a_shared_lease_keeps_the_rows_by_itself(store: ArenaStore) -> None:
    first = store.put(key(1), rows(5))
    second = first.share()
    first.release()
    assert store.stats().leased_rows == 5
    second.release()
    assert store.stats().leased_rows == 0
    with pytest.raises(ValueError, match="was released"):
        first.share()


def test_a_lease_on_what_was_forgotten_can_be_shared(store: ArenaStore) -> None:
    first = store.put(key(1), rows(5))
    store.forget(key(1))
    second = first.share()
    first.release()
    assert store.lease(key(1)) is None and store.stats().used_bytes > 0
    second.release()
    assert store.stats().used_bytes == 0
