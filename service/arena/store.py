"""The encoder's side of the arena: the only writer.

Entries are evicted least recently used first, never while leased, and not while quarantined: the engine may still
read the rows of a request that was aborted, for a short time. Thread-safe. Rows are raw bytes.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from service.arena.layout import ArenaSpec, Bytes, Columns, key_words, write_header
from service.arena.orphans import names
from service.errors import ArenaFull, ConfigurationError

LOCK_TRIES, LOCK_PAUSE = 10, 0.05
"""How often, and after how many seconds again, a file is found locked until its owner counts as alive."""


@dataclass(frozen=True, slots=True)
class ArenaStats:
    """Bytes count whole pages. `leased_rows` are rows that cannot be evicted now."""

    capacity_bytes: int
    used_bytes: int
    entries: int
    leased_rows: int
    evictions: int


@dataclass(slots=True, eq=False)
class _Entry:
    key: str
    slot: int
    rows: int
    pages: list[int] = field(repr=False)
    leases: int = 0
    kept_until: float = float("-inf")
    """End of the quarantine, on the store's clock."""
    listed: bool = True
    """False once forgotten: it can no longer be found, but stays readable until its last lease ends."""

    def evictable(self, now: float) -> bool:
        return self.leases == 0 and now >= self.kept_until


class ArenaLease:
    """Soft tokens that stay in the arena until released. Satisfies `service.domain.Lease`."""

    __slots__ = ("_began", "_entry", "_store", "cached", "key", "rows")

    def __init__(self, store: ArenaStore, entry: _Entry, *, cached: bool, began: float) -> None:
        self.key = entry.key
        self.rows = entry.rows
        self.cached = cached
        self._store = store
        self._entry: _Entry | None = entry
        self._began = began

    def share(self) -> ArenaLease:
        """Another lease on the same entry, to be released separately. Raises ValueError if this one was released."""
        return self._store._share(self)

    def release(self, quarantine: bool = False) -> None:
        """Allows the entry to be evicted; with `quarantine`, only after the store's grace period.

        Quarantine is for a request that is not known to be finished in the engine. Releasing twice is harmless.
        """
        self._store._release(self, quarantine)


class ArenaStore:
    """Creates the arena's file and holds it locked; a file left by a dead process is replaced.

    Raises ConfigurationError when another process holds `path`, or when there is no room for the file.
    """

    def __init__(
        self,
        path: str,
        spec: ArenaSpec,
        *,
        quarantine_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.spec = spec
        self._quarantine_seconds = quarantine_seconds
        self._clock = clock
        self._descriptor, self._map = _create(path, spec)
        self._columns = Columns(self._map, spec)
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._unlisted: list[_Entry] = []
        self._free_slots = [*reversed(range(spec.slots))]
        self._free_pages = [*reversed(range(spec.pages))]
        self._evictions = 0
        self._mean_lease = 1.0
        self._closed = False

    def lease(self, key: str) -> ArenaLease | None:
        """A lease on the entry of `key`, or None if there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            return self._lease(entry, cached=True)

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._entries

    def put(self, key: str, rows: Bytes) -> ArenaLease:
        """Copies `rows` (uint8 [rows, row_bytes]) into pages and leases them; an entry that exists is kept.

        Raises ValueError for a wrong shape or more rows than an entry may have, ArenaFull when leased and
        quarantined entries leave no room.
        """
        words = key_words(key)
        self._check(rows)
        with self._lock:
            if (entry := self._entries.get(key)) is not None:
                return self._lease(entry, cached=False)
            entry = self._reserve(key, len(rows))
        self._write(entry, rows)
        with self._lock:
            if (other := self._entries.get(key)) is not None:  # put by another thread meanwhile
                self._free_slots.append(entry.slot)
                self._free_pages += entry.pages
                return self._lease(other, cached=False)
            self._columns.key[:, entry.slot] = words
            self._columns.generation[entry.slot] += 1  # even: from here on it can be found
            self._entries[key] = entry
            return self._lease(entry, cached=False)

    def forget(self, key: str) -> None:
        """Drops the entry of `key`, if any; holders of leases keep their rows."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is None:
                return
            entry.listed = False
            self._columns.rows[entry.slot] = 0  # no longer found; what was found stays readable
            self._unlisted.append(entry)
            self._sweep()

    def stats(self) -> ArenaStats:
        with self._lock:
            self._sweep()
            now = self._clock()
            held = [*self._entries.values(), *self._unlisted]
            return ArenaStats(
                capacity_bytes=self.spec.pages * self.spec.page_bytes,
                used_bytes=sum(len(entry.pages) for entry in held) * self.spec.page_bytes,
                entries=len(self._entries),
                leased_rows=sum(entry.rows for entry in held if not entry.evictable(now)),
                evictions=self._evictions,
            )

    def close(self) -> None:
        """Removes the file; processes that have it mapped keep their view. Closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _remove(self.path, self._descriptor)
            os.close(self._descriptor)

    def _check(self, rows: Bytes) -> None:
        shape, width = rows.shape, self.spec.row_bytes
        if (
            rows.dtype != "u1"
            or rows.ndim != 2
            or shape[1] != width
            or not 0 < shape[0] <= self.spec.max_rows
        ):
            raise ValueError(
                f"an entry is {rows.dtype} {list(shape)}; it must be uint8 [rows, {width}] "
                f"with 1 to {self.spec.max_rows} rows"
            )

    def _lease(self, entry: _Entry, *, cached: bool) -> ArenaLease:
        entry.leases += 1
        self._entries.move_to_end(entry.key)
        return ArenaLease(self, entry, cached=cached, began=self._clock())

    def _share(self, lease: ArenaLease) -> ArenaLease:
        with self._lock:
            if (entry := lease._entry) is None:
                raise ValueError("a lease that was released cannot be shared")
            entry.leases += 1
            return ArenaLease(self, entry, cached=lease.cached, began=self._clock())

    def _release(self, lease: ArenaLease, quarantine: bool) -> None:
        with self._lock:
            entry, lease._entry = lease._entry, None
            if entry is None:
                return
            now = self._clock()
            entry.leases -= 1
            if quarantine:
                entry.kept_until = now + self._quarantine_seconds
            self._mean_lease += 0.1 * (now - lease._began - self._mean_lease)
            if not entry.listed:
                self._sweep()

    def _reserve(self, key: str, rows: int) -> _Entry:
        """A free slot and pages for an entry, evicting others if necessary. The caller holds the lock."""
        self._sweep()
        count, now = self.spec.pages_for(rows), self._clock()
        victims: list[_Entry] = []
        pages, slots = len(self._free_pages), len(self._free_slots)
        for entry in self._entries.values():
            if pages >= count and slots:
                break
            if entry.evictable(now):
                victims.append(entry)
                pages += len(entry.pages)
                slots += 1
        if pages < count or not slots:
            raise ArenaFull(
                "the soft tokens of running requests fill the arena", retry_after=max(1.0, self._mean_lease)
            )
        for entry in victims:
            del self._entries[entry.key]
            self._free(entry)
        self._evictions += len(victims)
        taken = [self._free_pages.pop() for _ in range(count)]
        return _Entry(key, self._free_slots.pop(), rows, taken)

    def _write(self, entry: _Entry, rows: Bytes) -> None:
        """Fills a reserved slot, whose generation is odd: no reader looks at it yet."""
        spec, columns, pages = self.spec, self._columns, entry.pages
        columns.rows[entry.slot] = entry.rows
        columns.pages[entry.slot, : len(pages)] = pages
        whole, rest = divmod(entry.rows, spec.page_rows)
        cut = whole * spec.page_rows
        columns.pool[pages[:whole]] = rows[:cut].reshape(whole, spec.page_rows, spec.row_bytes)
        if rest:
            columns.pool[pages[-1], :rest] = rows[cut:]

    def _sweep(self) -> None:
        """Frees forgotten entries that can no longer be read. The caller holds the lock."""
        now = self._clock()
        for entry in [entry for entry in self._unlisted if entry.evictable(now)]:
            self._unlisted.remove(entry)
            self._free(entry)

    def _free(self, entry: _Entry) -> None:
        self._columns.generation[entry.slot] += 1  # odd before its pages are given away
        self._free_slots.append(entry.slot)
        self._free_pages += entry.pages


def _create(path: str, spec: ArenaSpec) -> tuple[int, mmap.mmap]:
    """A new, locked file under `path`, with all its memory reserved: a full /dev/shm fails here, not at a write."""
    previous = _hold_previous(path)
    try:
        return _replace(path, spec)
    finally:
        if previous is not None:
            os.close(previous)


def _replace(path: str, spec: ArenaSpec) -> tuple[int, mmap.mmap]:
    try:
        descriptor, fresh = _locked_file(path)
    except OSError as error:
        raise _no_room(path, spec, error) from error
    try:
        os.posix_fallocate(descriptor, 0, spec.bytes_needed)
        buffer = mmap.mmap(descriptor, spec.bytes_needed, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        write_header(buffer, spec, identity=secrets.randbits(63))
        Columns(buffer, spec).generation[:] = 1  # odd: nothing to find
        os.replace(fresh, path)
    except OSError as error:
        os.unlink(fresh)
        os.close(descriptor)
        raise _no_room(path, spec, error) from error
    return descriptor, buffer


def _locked_file(path: str) -> tuple[int, str]:
    """A new file beside `path` under a name of its own."""
    while True:
        descriptor, fresh = tempfile.mkstemp(prefix=os.path.basename(path), dir=os.path.dirname(path) or ".")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if names(fresh, descriptor):
            return descriptor, fresh
        os.close(descriptor)  # taken for an orphan before it was locked


def _no_room(path: str, spec: ArenaSpec, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the arena needs {spec.bytes_needed} bytes of shared memory at {path}: {error.strerror}. "
        "Make the arena smaller, or /dev/shm larger (in a container: --shm-size)."
    )


def _hold_previous(path: str) -> int | None:
    """The file that a dead process left, locked so that nobody else removes what is put in its place. None: no file.

    Raises ConfigurationError when its owner lives.
    """
    for _ in range(LOCK_TRIES):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # an owner holds it for its life, whoever removes an orphan for an instant
            os.close(descriptor)
            time.sleep(LOCK_PAUSE)
            continue
        if names(path, descriptor):
            return descriptor
        os.close(descriptor)
    raise ConfigurationError(f"another process uses the arena at {path}; give each server a path of its own")


def _remove(path: str, descriptor: int) -> None:
    if names(path, descriptor):
        os.unlink(path)
