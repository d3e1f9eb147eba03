"""Which of a benchmark's cases run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Named(Protocol):
    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Named)


@dataclass(frozen=True, slots=True)
class Selection:
    """Names of shapes and sizes of batches; an empty one stands for all."""

    shapes: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()

    def of(self, cases: Iterable[tuple[S, int]]) -> list[tuple[S, int]]:
        """Those of `cases`, pairs of a shape and a batch, that are selected; in their order."""
        return [
            (shape, batch)
            for shape, batch in cases
            if (not self.shapes or shape.name in self.shapes) and (not self.batches or batch in self.batches)
        ]


ALL = Selection()
