"""The page's table says of each client what it is asked here; a run replaces the table and nothing else."""

from __future__ import annotations

import pytest

from tests.e2e.clients.asking import THINGS
from tests.e2e.clients.asks import ASKS
from tests.e2e.clients.table import COLUMNS, PAGE, replaced, rows_of
from tests.e2e.clients.test_clients import OF_NODE

PROGRAMS = {("guidellm", "chat"), ("vllm bench serve", "chat"), ("litellm proxy", "all three")}


def test_the_page_names_every_client_with_what_it_is_asked() -> None:
    told = {
        (row[0], row[2]): tuple(thing for thing, cell in zip(THINGS, row[3:], strict=True) if cell == "yes")
        for row in rows_of(PAGE.read_text())
    }
    asked = {(ask.package, ask.api): ask.things for ask in ASKS.values()}
    asked |= {(client, api): things for client, api, things in OF_NODE.values()}
    assert told.keys() == asked.keys() | PROGRAMS
    assert {client: told[client] for client in asked} == asked


def test_rows_take_the_place_of_rows_and_of_nothing_else() -> None:
    row = ["a client", "1.0", "chat", "yes", *[""] * (len(COLUMNS) - 4)]
    before = PAGE.read_text()
    after = replaced(before, [row])
    assert rows_of(after) == [row]
    assert replaced(after, rows_of(before)) == before


def test_a_page_without_the_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 tables"):
        replaced("# Clients\n", [])
