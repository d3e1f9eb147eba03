"""What one request holds until its answer has ended: leases in the arena, permits. Released once, in reverse."""

from __future__ import annotations

from collections.abc import Callable


class Held:
    """Callbacks that give something back; each is told whether the engine is known to be done with the request."""

    def __init__(self) -> None:
        self._returns: list[Callable[[bool], None]] = []

    def keep(self, give_back: Callable[[bool], None]) -> None:
        self._returns.append(give_back)

    def release(self, *, finished: bool) -> None:
        """Gives everything back; calling it again does nothing."""
        while self._returns:
            self._returns.pop()(finished)
