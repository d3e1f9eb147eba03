"""The arena against a model: what a reader sees is exactly what was put, or nothing."""

import os
import tempfile
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from service.arena import ArenaReader, ArenaSpec, ArenaStore, Entry, StaleEntry
from service.arena.store import ArenaLease
from service.errors import ArenaFull

SPEC = ArenaSpec(width=1, dtype="float32", page_rows=2, pages=7, slots=4, max_pages=3)
GRACE = 5.0
KEYS = st.sampled_from([f"{number:02x}" * 32 for number in range(6)])


@dataclass(eq=False)
class Thing:
    """What the model knows of one entry."""

    key: str
    data: np.ndarray = field(repr=False)
    leases: int = 0
    kept_until: float = -1.0

    @property
    def pages(self) -> int:
        return -(-len(self.data) // SPEC.page_rows)


class ArenaAgainstModel(RuleBasedStateMachine):
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 0.0
        self.store = ArenaStore(
            os.path.join(self.folder.name, "arena"), SPEC, quarantine_seconds=GRACE, clock=lambda: self.now
        )
        self.reader = ArenaReader(self.store.path)
        self.listed: OrderedDict[str, Thing] = OrderedDict()
        self.unlisted: list[Thing] = []
        self.seen: list[tuple[Entry, Thing]] = []
        self.count = 0

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def free(self, thing: Thing) -> bool:
        return thing.leases == 0 and self.now >= thing.kept_until

    def sweep(self) -> None:
        self.unlisted = [thing for thing in self.unlisted if not self.free(thing)]

    def make_room(self, pages: int) -> bool:
        self.sweep()
        things = [*self.listed.values(), *self.unlisted]
        free_pages, free_slots = SPEC.pages - sum(t.pages for t in things), SPEC.slots - len(things)
        victims = []
        for thing in self.listed.values():
            if free_pages >= pages and free_slots:
                break
            if self.free(thing):
                victims.append(thing)
                free_pages, free_slots = free_pages + thing.pages, free_slots + 1
        if free_pages < pages or not free_slots:
            return False
        for thing in victims:
            del self.listed[thing.key]
        return True

    @rule(target=leases, key=KEYS, count=st.integers(1, SPEC.max_rows))
    def put(self, key: str, count: int) -> tuple[ArenaLease, Thing] | None:
        self.count += 1
        thing = self.listed.get(key)
        if thing is None:
            numbers = np.arange(count, dtype="<u4")[:, None] + 100 * self.count  # [rows, 1]
            thing = Thing(key, numbers.view("u1"))
            if not self.make_room(thing.pages):
                try:
                    self.store.put(key, thing.data)
                except ArenaFull:
                    return None
                raise AssertionError("the arena took more than it has room for")
            self.listed[key] = thing
        lease = self.store.put(key, thing.data)
        assert (lease.key, lease.rows, lease.cached) == (key, len(thing.data), False)
        thing.leases += 1
        self.listed.move_to_end(key)
        return lease, thing

    @rule(target=leases, key=KEYS)
    def lease(self, key: str) -> tuple[ArenaLease, Thing] | None:
        lease = self.store.lease(key)
        thing = self.listed.get(key)
        assert (lease is None) == (thing is None)
        if lease is None or thing is None:
            return None
        assert lease.rows == len(thing.data) and lease.cached
        thing.leases += 1
        self.listed.move_to_end(key)
        return lease, thing

    @rule(held=consumes(leases), quarantine=st.booleans(), twice=st.booleans())
    def release(self, held: tuple[ArenaLease, Thing] | None, quarantine: bool, twice: bool) -> None:
        if held is None:
            return
        lease, thing = held
        lease.release(quarantine=quarantine)
        if twice:
            lease.release()
        thing.leases -= 1
        if quarantine:
            thing.kept_until = self.now + GRACE

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.store.forget(key)
        if key in self.listed:
            self.unlisted.append(self.listed.pop(key))

    @rule(seconds=st.sampled_from([1.0, GRACE]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=KEYS)
    def look_up(self, key: str) -> None:
        entry, thing = self.reader.find(key), self.listed.get(key)
        assert (entry is None) == (thing is None)
        if entry is not None and thing is not None:
            assert np.array_equal(self.reader.read(entry), thing.data)
            self.seen.append((entry, thing))

    @invariant()
    def whatever_was_found_once_is_the_same_or_stale(self) -> None:
        for entry, thing in self.seen:
            try:
                assert np.array_equal(self.reader.read(entry), thing.data)
            except StaleEntry:
                assert self.free(thing), "rows were taken away while leased or quarantined"

    @invariant()
    def the_numbers_are_right(self) -> None:
        self.sweep()
        things, stats = [*self.listed.values(), *self.unlisted], self.store.stats()
        assert stats.entries == len(self.listed)
        assert stats.used_bytes == sum(thing.pages for thing in things) * SPEC.page_bytes
        assert stats.leased_rows == sum(len(thing.data) for thing in things if not self.free(thing))


ArenaAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestArenaAgainstModel = ArenaAgainstModel.TestCase
