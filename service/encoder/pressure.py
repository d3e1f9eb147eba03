"""Whether the encoder has too much to do."""

from __future__ import annotations

from collections.abc import Callable

RELIEVED = 0.5
"""The share of the bound below which a backlog that was too long is short enough again."""


class Pressure:
    """`high` becomes true above `bound` seconds of backlog, and false at half of them, so that it does not change with
    every image.
    """

    def __init__(self, bound: float, backlog: Callable[[], float]) -> None:
        self._bound = bound
        self._backlog = backlog
        self._high = False

    @property
    def high(self) -> bool:
        self._high = self._backlog() > self._bound * (RELIEVED if self._high else 1.0)
        return self._high
