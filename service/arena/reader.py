"""The engine's side of the arena: finds entries by key and copies their rows. Maps the file read-only.

A find or a read never sees a half-written or a recycled slot: generations are compared before and after. When the
encoder's process was started anew and its arena replaced the old file, the reader follows it. Knows nothing of
leases: who asks for a key must know that somebody holds it. One thread may use a reader.
"""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

import numpy as np

from service.arena.layout import (
    ArenaMismatch,
    ArenaSpec,
    Bytes,
    Columns,
    header_bytes,
    key_words,
    read_header,
)


class StaleEntry(Exception):
    """The entry was evicted or rewritten since it was found."""


class Entry(NamedTuple):
    """Where some rows were found; good as long as the slot's generation is. Plain numbers: crosses processes."""

    arena: int
    slot: int
    generation: int
    rows: int


class ArenaReader:
    """Raises ArenaMismatch for a file that is no arena of this version, or whose rows are not `width` wide."""

    def __init__(self, path: str, *, width: int | None = None) -> None:
        self._path = path
        self._expected = width
        self._open()

    @property
    def spec(self) -> ArenaSpec:
        return self._spec

    def find(self, key: str) -> Entry | None:
        """The entry of a key (64 hexadecimal digits), or None. Costs a scan of one column."""
        entry = self._lookup(key)
        if entry is None and self._replaced():
            self._open()
            entry = self._lookup(key)
        return entry

    def read(self, entry: Entry) -> Bytes:
        """A copy of the entry's rows, uint8 [rows, row_bytes]. Raises StaleEntry."""
        if entry.arena != self._identity and self._replaced():
            self._open()
        if entry.arena != self._identity:
            raise StaleEntry("the arena of this entry is gone")
        columns = self._columns
        self._check(entry)
        pages = columns.pages[entry.slot, : self._spec.pages_for(entry.rows)].copy()
        if pages.max(initial=0) >= self._spec.pages:
            raise StaleEntry(f"slot {entry.slot} names a page that does not exist")
        rows = columns.pool[pages].reshape(-1, self._spec.row_bytes)[: entry.rows]  # [rows, row_bytes]
        self._check(entry)
        return rows

    def _check(self, entry: Entry) -> None:
        if int(self._columns.generation[entry.slot]) != entry.generation:
            raise StaleEntry(f"slot {entry.slot} was rewritten since its entry was found")

    def _lookup(self, key: str) -> Entry | None:
        columns, words = self._columns, key_words(key)
        for slot in np.flatnonzero(columns.key[0] == words[0]):
            generation = int(columns.generation[slot])
            rows = int(columns.rows[slot])
            if generation % 2 or not 0 < rows <= self._spec.max_rows:
                continue
            if np.array_equal(columns.key[:, slot], words) and generation == int(columns.generation[slot]):
                return Entry(self._identity, int(slot), generation, rows)
        return None

    def _replaced(self) -> bool:
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) != self._file

    def _open(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ArenaMismatch(f"there is no arena at {self._path}") from None
        try:
            status = os.fstat(descriptor)
            spec, identity = read_header(os.pread(descriptor, header_bytes(), 0), self._path)
            if status.st_size < spec.bytes_needed:
                raise ArenaMismatch(f"{self._path} has {status.st_size} of {spec.bytes_needed} bytes")
            if self._expected is not None and spec.width != self._expected:
                raise ArenaMismatch(
                    f"the rows in {self._path} are {spec.width} wide; the model takes {self._expected}"
                )
            buffer = mmap.mmap(descriptor, spec.bytes_needed, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self._spec, self._identity = spec, identity
        self._file = (status.st_dev, status.st_ino)
        self._columns = Columns(buffer, spec)
