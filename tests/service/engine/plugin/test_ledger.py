from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.arena import ArenaReader, ArenaSpec, ArenaStore, StaleEntry
from service.engine.plugin.ledger import Ledger, RowsGone, load

SPEC = ArenaSpec(width=2, dtype="float32", page_rows=4, pages=4, slots=4, max_pages=2)
KEY, OTHER = "ab" * 32, "cd" * 32


def rows(count: int, value: float = 1.0) -> np.ndarray:
    return np.full((count, SPEC.width), value, np.float32).view(np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ArenaStore]:
    store = ArenaStore(str(tmp_path / "arena"), SPEC)
    yield store
    store.close()


@pytest.fixture
def reader(store: ArenaStore) -> ArenaReader:
    return ArenaReader(store.path)


@pytest.fixture
def ledger(reader: ArenaReader) -> Ledger:
    return Ledger(reader, "float32")


def test_what_was_checked_and_wanted_is_loaded(
    store: ArenaStore, reader: ArenaReader, ledger: Ledger
) -> None:
    store.put(KEY, rows(3))
    store.put(OTHER, rows(5, 2.0))
    assert ledger.refusal(KEY, 3) is None and ledger.refusal(OTHER, 5) is None
    assert ledger.holds(KEY) and ledger.holds(OTHER)
    ledger.want(OTHER)
    loads = ledger.close_step([], empty=False)
    assert loads.keys() == {OTHER}
    assert np.array_equal(load(reader, OTHER, loads[OTHER], "float32"), rows(5, 2.0))


def test_a_check_holds_for_one_step(store: ArenaStore, ledger: Ledger) -> None:
    store.put(KEY, rows(3))
    assert ledger.refusal(KEY, 3) is None
    ledger.close_step([], empty=False)
    assert not ledger.holds(KEY)
    assert ledger.close_step([], empty=False) == {}


def test_each_reason_is_told_and_nothing_is_held(
    store: ArenaStore, reader: ArenaReader, ledger: Ledger
) -> None:
    assert ledger.refusal(KEY, 3) == "is not in the arena"
    store.put(KEY, rows(3))
    assert ledger.refusal(KEY, 4) == "has 3 rows in the arena, and 4 in the request"
    bad = rows(3)
    bad.view(np.float32)[2, 1] = np.nan
    store.put(OTHER, bad)
    assert ledger.refusal(OTHER, 3) == "has numbers that are not finite in float32"
    assert Ledger(reader, "float16").refusal(KEY, 3) is None
    assert "64 hexadecimal digits" in (ledger.refusal("lora:" + KEY, 3) or "")
    assert not ledger.holds(KEY) and not ledger.holds(OTHER)


def test_numbers_that_would_overflow_in_the_models_dtype_are_refused(
    store: ArenaStore, reader: ArenaReader
) -> None:
    store.put(KEY, rows(3, 1e5))
    assert Ledger(reader, "bfloat16").refusal(KEY, 3) is None
    assert Ledger(reader, "float16").refusal(KEY, 3) == "has numbers that are not finite in float16"


def test_numbers_are_looked_at_once_an_entry(
    store: ArenaStore, reader: ArenaReader, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def counted(entry: object) -> np.ndarray:
        reads.append(entry)
        return read(entry)  # type: ignore[arg-type]

    read = reader.read
    monkeypatch.setattr(reader, "read", counted)
    store.put(KEY, rows(3)).release()
    for _ in range(3):
        assert ledger.refusal(KEY, 3) is None
        ledger.close_step([], empty=False)
    assert len(reads) == 1
    store.forget(KEY)
    store.put(KEY, rows(3, np.inf))  # the same slot
    assert ledger.refusal(KEY, 3) == "has numbers that are not finite in float32"


def test_an_entry_evicted_while_it_is_checked_is_refused(
    reader: ArenaReader, store: ArenaStore, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(entry: object) -> np.ndarray:
        raise StaleEntry

    monkeypatch.setattr(reader, "read", stale)
    store.put(KEY, rows(3))
    assert ledger.refusal(KEY, 3) == "was just evicted from the arena"


def test_an_arena_replaced_by_one_that_does_not_fit_refuses_and_does_not_fail(
    store: ArenaStore, tmp_path: Path
) -> None:
    ledger = Ledger(ArenaReader(store.path, width=2), "float32")
    store.close()
    other = ArenaStore(store.path, ArenaSpec(4, "float32", 4, 4, 4, 2))
    assert "are 4 wide; the model takes 2" in (ledger.refusal(KEY, 3) or "")
    other.close()


def test_what_an_empty_step_wanted_is_loaded_with_the_next(store: ArenaStore, ledger: Ledger) -> None:
    for key in (KEY, OTHER):
        store.put(key, rows(3))
        assert ledger.refusal(key, 3) is None
        ledger.want(key)
    assert ledger.close_step([], empty=True) == {}
    assert ledger.close_step([], empty=True) == {}
    assert ledger.close_step([OTHER], empty=False).keys() == {KEY}
    assert ledger.close_step([], empty=False) == {}


def test_a_key_freed_and_wanted_in_one_step_is_loaded(store: ArenaStore, ledger: Ledger) -> None:
    store.put(KEY, rows(3))
    assert ledger.refusal(KEY, 3) is None
    ledger.want(KEY)
    assert ledger.close_step([KEY], empty=False).keys() == {KEY}


def test_an_entry_that_moved_is_loaded_from_its_new_place(store: ArenaStore, reader: ArenaReader) -> None:
    store.put(KEY, rows(3)).release()
    entry = reader.find(KEY)
    assert entry is not None
    store.forget(KEY)
    store.put(KEY, rows(3))
    assert np.array_equal(load(reader, KEY, entry, "float32"), rows(3))


@pytest.mark.parametrize("again", [None, rows(4), rows(3, np.nan)], ids=["gone", "other rows", "not finite"])
def test_rows_that_are_wrong_are_never_loaded(
    store: ArenaStore, reader: ArenaReader, again: np.ndarray | None
) -> None:
    store.put(KEY, rows(3)).release()
    entry = reader.find(KEY)
    assert entry is not None
    store.forget(KEY)
    if again is not None:
        store.put(KEY, again)
    with pytest.raises(RowsGone, match=f"image {KEY} left the arena after its request was scheduled"):
        load(reader, KEY, entry, "float32")
