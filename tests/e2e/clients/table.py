"""What each client did, as the table in docs/clients.md. `make clients` writes it: the rows of clients that passed."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from tests.e2e.clients.asking import THINGS

PAGE = Path(__file__).parents[3] / "docs" / "clients.md"
COLUMNS = ("client", "version", "api", *THINGS, "as vLLM")
TABLE = re.compile(r"^\| client \| version \|.*\n(?:\|.*\n)*", re.M)

Row = Sequence[str]
"""Of each of `COLUMNS`: `yes` where something was done, `none` where the client has no such thing; and how many of the
different requests that it made have the same answer from vLLM's own server."""


def markdown(rows: Sequence[Row]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *sorted(rows, key=lambda row: [cell.lower() for cell in row])]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def replaced(page: str, rows: Sequence[Row]) -> str:
    """The page with these rows in the place of those that it has. Raises ValueError where it has no such table."""
    page, found = TABLE.subn(lambda _: markdown(rows), page)
    if found != 1:
        raise ValueError(f"the page has {found} tables that begin with a client and its version")
    return page


def rows_of(page: str) -> list[Row]:
    """Those of the page's table, without its head."""
    (table,) = TABLE.findall(page)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def merged(before: Sequence[Row], found: Sequence[Row], known: Collection[tuple[str, str]]) -> list[Row]:
    """Rows that were found in the place of those of the same client and API, and only those of clients that are
    `known`."""
    rows = {(row[0], row[2]): row for row in (*before, *found)}
    return [row for client, row in rows.items() if client in known]
