"""File descriptors held back, so that there is one for whoever must be answered when the process has none left."""

from __future__ import annotations

import os
from contextlib import suppress


class Reserve:
    """`size` descriptors, opened as far as the process may."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: list[int] = []
        self.fill()

    def fill(self) -> None:
        """Takes back what was given, as far as descriptors are free again."""
        with suppress(OSError):
            while len(self._held) < self._size:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def give(self) -> bool:
        """Frees one descriptor. False if there is none."""
        if not self._held:
            return False
        os.close(self._held.pop())
        return True

    def close(self) -> None:
        self._size = 0
        while self.give():
            pass
