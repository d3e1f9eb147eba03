"""Which rows a step of the engine loads, decided where a request can still fail alone. Imports neither vLLM nor torch.

`Ledger` is the scheduler's side: a key must be in the arena, with the rows that the request says, all of them
numbers that the model can take. `load` is a worker's side: it copies exactly the entry that was checked.
"""

from __future__ import annotations

from collections.abc import Collection

from service.arena import ArenaMismatch, ArenaReader, Entry, StaleEntry
from service.arena.layout import Bytes
from service.arena.values import representable


class RowsGone(Exception):
    """Rows left the arena between the check and the load."""


class Ledger:
    """One step at a time: `refusal` for each image, `want` for those that the step takes, then `close_step`."""

    def __init__(self, reader: ArenaReader, dtype: str) -> None:
        self._reader = reader
        self._dtype = dtype
        self._found: dict[str, Entry] = {}  # checked in this step
        self._sound: dict[int, Entry] = {}  # by slot, the last entry whose numbers were found good
        self._wanted: dict[str, Entry] = {}
        self._postponed: dict[str, Entry] = {}

    def refusal(self, key: str, rows: int) -> str | None:
        """Why `rows` rows of `key` cannot be loaded, to follow the image's name in a sentence; None if they can."""
        try:
            entry = self._found.get(key) or self._reader.find(key)
            if entry is None:
                return "is not in the arena"
            if entry.rows != rows:
                return f"has {entry.rows} rows in the arena, and {rows} in the request"
            if self._sound.get(entry.slot) != entry:
                if not _representable(self._reader, entry, self._dtype):
                    return f"has numbers that are not finite in {self._dtype}"
                self._sound[entry.slot] = entry
        except StaleEntry:
            return "was just evicted from the arena"
        except (ArenaMismatch, ValueError) as error:
            return f"cannot be looked up: {error}"
        self._found[key] = entry
        return None

    def holds(self, key: str) -> bool:
        """True when `key` was checked in this step, and not refused."""
        return key in self._found

    def want(self, key: str) -> None:
        """The step loads `key`, which it holds."""
        self._wanted[key] = self._found[key]

    def close_step(self, freed: Collection[str], *, empty: bool) -> dict[str, Entry]:
        """What the workers load for this step, by key.

        `freed` are keys that the engine's own cache drops before it loads. No worker loads anything in an `empty`
        step, one without tokens: what was wanted then is loaded with the next.
        """
        loads = {key: entry for key, entry in self._postponed.items() if key not in freed} | self._wanted
        self._found, self._wanted, self._postponed = {}, {}, {}
        if empty:
            self._postponed, loads = loads, {}
        return loads


def load(reader: ArenaReader, key: str, entry: Entry, dtype: str) -> Bytes:
    """The rows of a checked entry, uint8 [rows, row_bytes]; if it has moved, those that its key names now.

    Raises RowsGone.
    """
    try:
        return reader.read(entry)
    except StaleEntry:
        again = reader.find(key)
        if again is None or again.rows != entry.rows or not _representable(reader, again, dtype):
            raise RowsGone(f"image {key} left the arena after its request was scheduled") from None
        return reader.read(again)


def _representable(reader: ArenaReader, entry: Entry, dtype: str) -> bool:
    return representable(reader.read(entry), reader.spec.dtype, dtype)
