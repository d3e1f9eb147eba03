"""The page's table says of each client what it is asked here; a run replaces the table and nothing else."""

from __future__ import annotations

import pytest

from tests.e2e.clients.asking import THINGS
from tests.e2e.clients.known import LACKING
from tests.e2e.clients.table import COLUMNS, PAGE, merged, replaced, rows_of


def test_the_page_names_every_client_with_what_it_was_asked() -> None:
    told = {(row[0], row[2]): dict(zip(THINGS, row[3:], strict=False)) for row in rows_of(PAGE.read_text())}
    assert told == {
        client: {thing: "none" if thing in lacking else "yes" for thing in THINGS}
        for client, lacking in LACKING.items()
    }


def test_every_request_of_theirs_was_asked_of_vllm_too() -> None:
    for *_, same in rows_of(PAGE.read_text()):
        equal, _, asked = same.partition(" of ")
        assert int(equal) == int(asked) > 0


def test_rows_take_the_place_of_rows_and_of_nothing_else() -> None:
    row = ["a client", "1.0", "chat", "yes", *[""] * (len(COLUMNS) - 4)]
    before = PAGE.read_text()
    after = replaced(before, [row])
    assert rows_of(after) == [row]
    assert replaced(after, rows_of(before)) == before


def test_a_row_takes_the_place_of_its_clients_and_unknown_ones_go() -> None:
    before = [["a", "1", "chat", "no"], ["b", "1", "chat", "no"], ["gone", "1", "chat", "no"]]
    found = [["b", "2", "chat", "yes"], ["b", "2", "Responses", "yes"]]
    known = {("a", "chat"), ("b", "chat"), ("b", "Responses")}
    assert merged(before, found, known) == [before[0], *found]


def test_a_page_without_the_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 tables"):
        replaced("# Clients\n", [])
