"""Soft tokens in shared memory: pooled, paged, content-addressed, with leases.

One file (in /dev/shm) is written by the encoder's process and mapped read-only by the engine's processes.
`layout` is the file's format, `store` the only writer, `reader` the engine's side, `values` the check of what was read,
`orphans` the removal of files whose owner was killed. Standard library and numpy only: this room depends on nothing but
`errors`, neither on torch nor on vLLM.
"""

from service.arena.layout import ARENA_VERSION, ArenaMismatch, ArenaSpec
from service.arena.orphans import arena_name, remove_orphans
from service.arena.reader import ArenaReader, Entry, StaleEntry
from service.arena.store import ArenaLease, ArenaStats, ArenaStore

__all__ = [
    "ARENA_VERSION",
    "ArenaLease",
    "ArenaMismatch",
    "ArenaReader",
    "ArenaSpec",
    "ArenaStats",
    "ArenaStore",
    "Entry",
    "StaleEntry",
    "arena_name",
    "remove_orphans",
]
