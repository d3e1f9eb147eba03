import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.arena.layout import (
    ITEMSIZES,
    MOST_SLOTS,
    ArenaMismatch,
    ArenaSpec,
    Columns,
    key_words,
    read_header,
    write_header,
)

SPEC = ArenaSpec(width=24, dtype="bfloat16", page_rows=4, pages=6, slots=5, max_pages=3)


@given(
    budget=st.integers(1, 2**34),
    width=st.integers(1, 8192),
    dtype=st.sampled_from(sorted(ITEMSIZES)),
    max_rows=st.integers(1, 5000),
    page_rows=st.sampled_from([1, 3, 16, 64]),
)
def test_a_budget_is_never_passed_and_hardly_wasted(
    budget: int, width: int, dtype: str, max_rows: int, page_rows: int
) -> None:
    try:
        spec = ArenaSpec.for_budget(budget, width, dtype, max_rows, page_rows)
    except ValueError as error:
        least = int(str(error).rsplit(" ", 1)[1])
        assert budget < least
        assert ArenaSpec.for_budget(least, width, dtype, max_rows, page_rows).pages >= 2
        return
    assert spec.bytes_needed <= budget
    assert spec.max_rows >= max_rows
    assert spec.pages >= 2 * spec.max_pages
    assert spec.slots == min(spec.pages, MOST_SLOTS)
    unused = budget - spec.bytes_needed
    assert unused < 2 * 4096 + spec.page_bytes + 44 + 4 * spec.max_pages or spec.pages == 2**31 - 1


def test_an_entry_occupies_whole_pages() -> None:
    assert [SPEC.room(rows) for rows in (1, 4, 5, 12)] == [4, 4, 8, 12]


def test_columns_neither_overlap_nor_leave_the_file() -> None:
    buffer = mmap.mmap(-1, SPEC.bytes_needed)
    columns = Columns(buffer, SPEC)
    arrays = [columns.generation, columns.key, columns.rows, columns.pages, columns.pool]
    for value, array in enumerate(arrays, start=1):
        array[...] = value
    assert [array.min() for array in arrays] == [array.max() for array in arrays] == [1, 2, 3, 4, 5]
    assert columns.generation.ctypes.data % 8 == columns.key.ctypes.data % 8 == 0
    assert SPEC.pool_start % 4096 == 0


def test_a_header_says_what_was_written() -> None:
    buffer = mmap.mmap(-1, SPEC.bytes_needed)
    write_header(buffer, SPEC, identity=2**62 + 1)
    assert read_header(buffer[:64], "a") == (SPEC, 2**62 + 1)


@pytest.mark.parametrize(
    ("offset", "byte", "words"),
    [(0, 0, "is not an arena"), (8, 9, "version 9; this program reads version 1"), (24, 0, "damaged arena")],
)
def test_a_foreign_header_is_refused_in_a_sentence(offset: int, byte: int, words: str) -> None:
    buffer = mmap.mmap(-1, SPEC.bytes_needed)
    write_header(buffer, SPEC, identity=1)
    buffer[offset] = byte
    if offset == 24:  # the dtype's first letter
        buffer[24:40] = b"\0" * 16
    with pytest.raises(ArenaMismatch, match=words):
        read_header(buffer[:64], "/dev/shm/a")


@pytest.mark.parametrize("data", [b"", b"PBARENA", b"x" * 64])
def test_what_is_too_short_or_foreign_is_no_arena(data: bytes) -> None:
    with pytest.raises(ArenaMismatch, match="/dev/shm/a is not an arena of soft tokens"):
        read_header(data, "/dev/shm/a")


@pytest.mark.parametrize("changes", [{"dtype": "int8"}, {"width": 0}, {"pages": 0}, {"max_pages": 7}])
def test_an_impossible_form_is_refused(changes: dict[str, object]) -> None:
    fields = {"width": 24, "dtype": "bfloat16", "page_rows": 4, "pages": 6, "slots": 5, "max_pages": 3}
    with pytest.raises(ValueError, match=next(iter(changes)).split("_")[-1]):
        ArenaSpec(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "ab", "g" * 64, "ab" * 33, " ".join(["ab"] * 32)])
def test_only_64_hexadecimal_digits_are_a_key(key: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        key_words(key)
