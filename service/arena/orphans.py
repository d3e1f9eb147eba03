"""Arena files whose owner was killed: found by name, told from living ones by the lock that an owner holds.

Whoever changes what a path names holds the lock of the file that it names. Otherwise one process could remove a file
that another has put there a moment before.
"""

from __future__ import annotations

import fcntl
import glob
import logging
import os
import stat
from contextlib import suppress

log = logging.getLogger(__name__)


def arena_name(port: int) -> str:
    """The name of the arena of the server of this user at `port`."""
    return f"patchbay-{port}-{os.getuid()}.arena"


def remove_orphans(folder: str) -> list[str]:
    """Removes this user's arenas in `folder` that nobody owns any more, half-made ones too; returns their paths."""
    # mkstemp appends to the name
    pattern = os.path.join(glob.escape(folder), f"patchbay-*-{os.getuid()}.arena*")
    removed = [path for path in sorted(glob.glob(pattern)) if _remove_if_orphaned(path)]
    for path in removed:
        log.warning("removed %s, which a server left behind that was killed", path)
    return removed


def names(path: str, descriptor: int) -> bool:
    """Whether `path` names the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_if_orphaned(path: str) -> bool:
    # what is locked, gone or not ours to remove stays: a start does not depend on it
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_own_file(descriptor) and names(path, descriptor):
                os.unlink(path)
                return True
        finally:
            os.close(descriptor)
    return False


def _is_own_file(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
