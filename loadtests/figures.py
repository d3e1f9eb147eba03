"""Counts and measured values per second and kind of request, and exact percentiles of them.

A request belongs to the second in which it was *due*, wherever and whenever it ended, so a time window contains every
request that was due in it, including those not answered yet. Figures of several processes add up. Every measured value
is kept (8 bytes each), so percentiles are exact and merging loses nothing.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

STARTED = "started"
RIGHT = "right"
WRONG = "wrong"
REFUSED = "refused"
FAILED = "failed"
ENDS = (RIGHT, WRONG, REFUSED, FAILED)
"""A request starts once and ends in one of these ways."""
AWAITED = "awaited"
"""Requests that should produce a first token: all except those with a broken image."""
TOKENLESS = "tokenless"
"""Those of them that ended without one."""
LEFT = "left"
"""Requests that ended in this second, whenever they were due."""
TRUE, UNTRUE = "true", "untrue"
"""Answers compared with what the picture shows, where that is known."""
PROMPT_TOKENS, COMPLETION_TOKENS, IMAGE_TOKENS = "prompt_tokens", "completion_tokens", "image_tokens"
REASON = "reason: "
"""Prefix of the counters for the reasons of wrong, refused and failed requests."""

FIRST_TOKEN = "first_token_ms"
INTER_TOKEN = "inter_token_ms"
TOTAL = "total_ms"
TOKENS_PER_SECOND = "tokens_per_second"
LATE = "late_ms"
"""How late the load generator itself sent the request."""
MEASURES = (FIRST_TOKEN, INTER_TOKEN, TOTAL, TOKENS_PER_SECOND, LATE)


def percentile(values: Sequence[float], q: float, missing: int = 0) -> float | None:
    """The smallest value that at least the share `q` of all values do not exceed (nearest rank); None without values.

    `missing` values are known to be larger than all others; if the rank falls among them, the result is infinite.
    """
    total = len(values) + missing
    if not total:
        return None
    rank = max(1, math.ceil(q * total))
    return sorted(values)[rank - 1] if rank <= len(values) else math.inf


class Cell:
    """Counts and measured values of one kind in one second, or of a whole window."""

    __slots__ = ("counts", "values")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.values: dict[str, array[float]] = defaultdict(lambda: array("d"))

    def add(self, other: Cell) -> None:
        self.counts.update(other.counts)
        for name, values in other.values.items():
            self.values[name].extend(values)

    @property
    def ended(self) -> int:
        return sum(self.counts[name] for name in ENDS)

    @property
    def awaiting(self) -> int:
        """Requests that have neither received their first token nor ended."""
        return max(0, self.counts[AWAITED] - self.counts[TOKENLESS] - len(self.values[FIRST_TOKEN]))

    def quantile(self, name: str, q: float) -> float | None:
        """A percentile of a measure; first tokens that have not arrived count as infinitely late."""
        return percentile(self.values[name], q, self.awaiting if name == FIRST_TOKEN else 0)

    def share(self, name: str, of: Iterable[str]) -> float | None:
        """`name` as a share of the sum of `of`; None if that is zero."""
        total = sum(self.counts[each] for each in of)
        return self.counts[name] / total if total else None

    def reasons(self) -> list[tuple[str, int]]:
        """(reason, count), the most frequent first."""
        found = [(name.removeprefix(REASON), n) for name, n in self.counts.items() if name.startswith(REASON)]
        return sorted(found, key=lambda item: (-item[1], item[0]))


class Figures:
    def __init__(self) -> None:
        self._cells: dict[tuple[int, str], Cell] = {}

    def count(self, at: float, kind: str, name: str, amount: int = 1) -> None:
        """`at` is in seconds since the epoch."""
        self._cell(at, kind).counts[name] += amount

    def value(self, at: float, kind: str, name: str, value: float) -> None:
        self._cell(at, kind).values[name].append(value)

    def over(self, start: float = -math.inf, end: float = math.inf, kind: str | None = None) -> Cell:
        """Everything due in the whole seconds from `start` up to but not including `end`."""
        found = Cell()
        for (second, name), cell in self._cells.items():
            if start <= second < end and kind in (None, name):
                found.add(cell)
        return found

    def kinds(self) -> list[str]:
        return sorted({kind for _, kind in self._cells})

    def span(self) -> tuple[int, int]:
        """The first second with figures and the one after the last; (0, 0) without figures."""
        seconds = [second for second, _ in self._cells]
        return (min(seconds), max(seconds) + 1) if seconds else (0, 0)

    @property
    def in_flight(self) -> int:
        counts = [cell.counts for cell in self._cells.values()]
        return sum(each[STARTED] - each[LEFT] for each in counts)

    def pack(self) -> list[list[Any]]:
        """As plain lists, numbers, text and bytes, for another process."""
        return [
            [second, kind, dict(cell.counts), {name: v.tobytes() for name, v in cell.values.items() if v}]
            for (second, kind), cell in self._cells.items()
        ]

    def take(self) -> list[list[Any]]:
        """Packs the figures and clears them."""
        packed = self.pack()
        self._cells = {}
        return packed

    def merge(self, packed: list[list[Any]]) -> None:
        """Adds figures that another process packed."""
        for second, kind, counts, values in packed:
            cell = self._cell(second, kind)
            cell.counts.update(counts)
            for name, data in values.items():
                cell.values[name].frombytes(data)

    def clear(self) -> None:
        self._cells = {}

    def _cell(self, at: float, kind: str) -> Cell:
        key = (math.floor(at), kind)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = Cell()
        return cell
