from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import service.arena.reader as arena_reader
from service.arena import ArenaMismatch, ArenaReader, ArenaSpec, ArenaStore, StaleEntry

SPEC = ArenaSpec(width=2, dtype="bfloat16", page_rows=4, pages=4, slots=3, max_pages=2)
KEY, OTHER = "ab" * 32, "ab" * 31 + "cd"  # the first word is the same


def rows(count: int, fill: int) -> np.ndarray:
    return np.full((count, SPEC.row_bytes), fill, np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ArenaStore]:
    store = ArenaStore(str(tmp_path / "arena"), SPEC)
    yield store
    store.close()


def test_keys_that_begin_alike_are_told_apart(store: ArenaStore) -> None:
    reader = ArenaReader(store.path)
    store.put(KEY, rows(3, 1))
    assert reader.find(OTHER) is None
    store.put(OTHER, rows(5, 2))
    for key, fill, count in ((KEY, 1, 3), (OTHER, 2, 5)):
        entry = reader.find(key)
        assert entry is not None
        assert np.array_equal(reader.read(entry), rows(count, fill))


def test_what_is_read_is_a_copy(store: ArenaStore) -> None:
    reader = ArenaReader(store.path)
    store.put(KEY, rows(3, 1))
    entry = reader.find(KEY)
    assert entry is not None
    copy = reader.read(entry)
    copy[:] = 9
    assert np.array_equal(reader.read(entry), rows(3, 1))


def test_an_evicted_entry_is_stale_even_when_its_slot_holds_the_same_key_again(store: ArenaStore) -> None:
    reader = ArenaReader(store.path)
    store.put(KEY, rows(3, 1)).release()
    entry = reader.find(KEY)
    assert entry is not None
    store.forget(KEY)
    with pytest.raises(StaleEntry):
        reader.read(entry)
    store.put(KEY, rows(3, 2))
    with pytest.raises(StaleEntry):
        reader.read(entry)


def test_a_change_while_reading_is_noticed(store: ArenaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ArenaReader(store.path)
    store.put(KEY, rows(3, 1)).release()
    entry = reader.find(KEY)
    assert entry is not None
    checks = []

    def check_then_forget(mapped: object, entry: object) -> None:
        check(mapped, entry)  # type: ignore[arg-type]
        if not checks:
            store.forget(KEY)
        checks.append(entry)

    check = arena_reader._check
    monkeypatch.setattr(arena_reader, "_check", check_then_forget)
    with pytest.raises(StaleEntry):
        reader.read(entry)


def test_an_entry_of_a_replaced_arena_is_stale(store: ArenaStore, tmp_path: Path) -> None:
    reader, other = ArenaReader(store.path), ArenaReader(store.path)
    store.put(KEY, rows(3, 1))
    old = reader.find(KEY)
    assert old is not None
    store.close()
    assert reader.find(OTHER) is None  # the file is gone, the mapping still holds
    assert np.array_equal(reader.read(old), rows(3, 1))
    new = ArenaStore(store.path, SPEC)
    new.put(OTHER, rows(5, 2))
    entry = reader.find(OTHER)
    assert entry is not None
    with pytest.raises(StaleEntry):
        reader.read(old)
    assert np.array_equal(other.read(entry), rows(5, 2))  # found by one process, read by another
    new.close()


def test_no_one_can_write_through_a_reader(store: ArenaStore) -> None:
    reader = ArenaReader(store.path)
    assert reader._mapped is not None
    with pytest.raises(ValueError, match="read-only"):
        reader._mapped.columns.generation[0] = 2


def test_an_arena_may_appear_after_its_readers(tmp_path: Path) -> None:
    path = str(tmp_path / "late.arena")
    scheduler, worker = ArenaReader(path), ArenaReader(path)
    for look in (lambda: scheduler.find(KEY), lambda: scheduler.spec):
        with pytest.raises(ArenaMismatch, match="there is no arena at .*late"):
            look()
    store = ArenaStore(path, SPEC)
    store.put(KEY, rows(3, 1)).release()
    entry = scheduler.find(KEY)
    assert entry is not None
    assert np.array_equal(worker.read(entry), rows(3, 1))  # found by one process, read by another
    store.close()


def test_wrong_files_are_refused_in_a_sentence(store: ArenaStore, tmp_path: Path) -> None:
    with pytest.raises(ArenaMismatch, match="rows in .* are 2 wide; the model takes 4"):
        ArenaReader(store.path, width=4)
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"x" * 9000)
    with pytest.raises(ArenaMismatch, match="is not an arena"):
        ArenaReader(str(foreign))
    cut = tmp_path / "cut"
    cut.write_bytes(Path(store.path).read_bytes()[:4100])
    with pytest.raises(ArenaMismatch, match=f"has 4100 of {SPEC.bytes_needed} bytes"):
        ArenaReader(str(cut))
