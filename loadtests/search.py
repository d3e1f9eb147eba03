"""The search for the capacity: rates to try, until the highest sustainable one is known precisely enough.

Rates grow by a factor until one fails, then the interval between the highest that held and the lowest that broke is
halved. The caller reports how each rate went.
"""

from __future__ import annotations

import math


class CapacitySearch:
    def __init__(
        self,
        first: float,
        growth: float = 1.5,
        precision: float = 0.1,
        most: float = math.inf,
        unit: float = 0.001,
    ) -> None:
        """Starts at `first`; ends when broken ≤ held × (1 + `precision`), or when `most` holds. Rates are multiples
        of `unit`.

        Raises ValueError for a rate, growth or precision with which it would never end.
        """
        if first <= 0 or most < first or growth <= 1 or precision <= 0 or unit <= 0:
            raise ValueError(
                f"first {first:g}, most {most:g}, growth {growth:g}, precision {precision:g}, unit {unit:g}: a search "
                "needs 0 < first ≤ most, growth > 1, precision > 0 and unit > 0"
            )
        self._growth = growth
        self._precision = precision
        self._unit = unit
        self._most = self._rounded(most) if math.isfinite(most) else most
        self._first = self._rounded(first)
        self.held: float | None = None
        """The highest rate that held, below every rate that broke."""
        self.broken: float | None = None
        """The lowest rate that broke."""

    def next(self) -> float | None:
        """The rate to try now; None when the search is over."""
        if self.broken is None:
            return self._up()
        if self.held is None:
            # even the first rate was too much: try lower ones, but not for ever
            below = self._rounded(self.broken / self._growth**2)
            return below if self._first / 16 <= below < self.broken else None
        if self.broken <= self.held * (1 + self._precision):
            return None
        between = self._rounded(math.sqrt(self.held * self.broken))
        return between if self.held < between < self.broken else None

    def _up(self) -> float | None:
        if self.held is None:
            return self._first
        if self.held >= self._most:
            return None
        return min(max(self._rounded(self.held * self._growth), self.held + self._unit), self._most)

    def _rounded(self, rate: float) -> float:
        # whole units, divided: 0.1 has no exact binary representation, and 3 × 0.1 is not 0.3
        return max(1, round(rate / self._unit)) / (1 / self._unit)

    def tell(self, rate: float, held: bool) -> None:
        """Reports whether a rate held. A rate that held above one that broke is ignored: the lowest failure counts."""
        if held:
            if (self.broken is None or rate < self.broken) and (self.held is None or rate > self.held):
                self.held = rate
        elif self.broken is None or rate < self.broken:
            self.broken = rate
            if self.held is not None and self.held >= rate:
                self.held = None
