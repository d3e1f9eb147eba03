"""The engine's side of the arena: finds entries by key and copies their rows. Maps the file read-only.

A find or a read never sees a half-written or a recycled slot: generations are compared before and after. If the
encoder's process was restarted and its arena replaced the old file, the reader switches to it; while there is no file,
it says so. It takes no leases: whoever asks for a key must know that its entry is leased.
One thread may use a reader.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
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
    """Where rows were found; valid as long as the slot's generation is unchanged. Plain numbers, so it can be sent to
    another process."""

    arena: int
    slot: int
    generation: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Mapped:
    """One arena file in this process's memory."""

    file: tuple[int, int]
    """Its device and inode."""
    identity: int
    spec: ArenaSpec
    columns: Columns


class ArenaReader:
    """Raises ArenaMismatch if the file is not an arena of this version, or its rows are not `width` wide."""

    def __init__(self, path: str, *, width: int | None = None) -> None:
        self._path = path
        self._expected = width
        self._mapped: _Mapped | None = self._open() if self._replaced(None) else None

    @property
    def spec(self) -> ArenaSpec:
        """Of the current arena. Raises ArenaMismatch if there is none."""
        return self._present().spec

    def find(self, key: str) -> Entry | None:
        """The entry of a key (64 hexadecimal digits), or None. Costs a scan of one column. Raises ArenaMismatch."""
        entry = _lookup(self._mapped, key) if self._mapped else None
        if entry is None and self._replaced(self._mapped):
            self._mapped = self._open()
            entry = _lookup(self._mapped, key)
        elif entry is None:
            self._present()
        return entry

    def read(self, entry: Entry) -> Bytes:
        """A copy of the entry's rows, uint8 [rows, row_bytes]. Raises StaleEntry, ArenaMismatch."""
        known = self._mapped is not None and entry.arena == self._mapped.identity
        if not known and self._replaced(self._mapped):
            self._mapped = self._open()
        mapped = self._present()
        if entry.arena != mapped.identity:
            raise StaleEntry("the arena of this entry is gone")
        _check(mapped, entry)
        pages = mapped.columns.pages[entry.slot, : mapped.spec.pages_for(entry.rows)].copy()
        if pages.max(initial=0) >= mapped.spec.pages:
            raise StaleEntry(f"slot {entry.slot} names a page that does not exist")
        pool, spec = mapped.columns.pool, mapped.spec
        rows = pool[pages].reshape(-1, spec.row_bytes)[: entry.rows]  # [rows, row_bytes]
        _check(mapped, entry)
        return rows

    def _present(self) -> _Mapped:
        if self._mapped is None:
            raise ArenaMismatch(f"there is no arena at {self._path}")
        return self._mapped

    def _replaced(self, mapped: _Mapped | None) -> bool:
        """Whether there is a file at the path, and it is not the mapped one."""
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return False
        return mapped is None or (now.st_dev, now.st_ino) != mapped.file

    def _open(self) -> _Mapped:
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
        return _Mapped((status.st_dev, status.st_ino), identity, spec, Columns(buffer, spec))


def _check(mapped: _Mapped, entry: Entry) -> None:
    if int(mapped.columns.generation[entry.slot]) != entry.generation:
        raise StaleEntry(f"slot {entry.slot} was rewritten since its entry was found")


def _lookup(mapped: _Mapped, key: str) -> Entry | None:
    columns, words = mapped.columns, key_words(key)
    for slot in np.flatnonzero(columns.key[0] == words[0]):
        generation = int(columns.generation[slot])
        rows = int(columns.rows[slot])
        if generation % 2 or not 0 < rows <= mapped.spec.max_rows:
            continue
        if np.array_equal(columns.key[:, slot], words) and generation == int(columns.generation[slot]):
            return Entry(mapped.identity, int(slot), generation, rows)
    return None
