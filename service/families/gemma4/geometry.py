"""Gemma 4's geometry: an image fills a budget of soft tokens, which stand between two tokens of their own.

An image is one view, and its *cells*, squares of 3 × 3 patches that become one soft token each, are its tiles. `high`
is the checkpoint's own budget, `low` the smallest of the five that its tower was trained with. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from service.domain import Detail, ImagePlan, Run, SoftLayout, View
from service.errors import ConfigurationError
from service.families.base import FamilyFacts, must_be_planned
from service.families.gemma4.files import BUDGETS, read_facts
from service.families.gemma4.resize import fill_budget
from service.families.grids import nearest_square


@dataclass(frozen=True, slots=True)
class Gemma4Geometry:
    """`patch`: pixels on a side of a patch; `merge`: patches on a side of a cell."""

    facts: FamilyFacts
    patch: int
    merge: int
    budget: int
    """Soft tokens of an image at most."""
    own_budget: int
    """The same as the checkpoint's processor has it, before any limit."""
    engine_budget: int
    """The same as the engine counts where a request says nothing."""
    image_token: int
    begin_token: int
    end_token: int

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

        Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
        """
        return cls(**read_facts(Path(path)))

    @property
    def cell(self) -> int:
        """Pixels on a side of what becomes one soft token."""
        return self.patch * self.merge

    @property
    def max_tokens(self) -> int:
        return self.budget

    @property
    def largest(self) -> ImagePlan:
        columns, rows = nearest_square(self.budget)
        return self._planned("high", (columns * self.cell, rows * self.cell))

    def limited(self, tokens: int) -> Self:
        """The largest of the tower's budgets that is no more."""
        if tokens >= self.budget:
            return self
        if tokens < min(BUDGETS):
            raise ConfigurationError(
                f"max_image_tokens ({tokens}) is less than {min(BUDGETS)}, the smallest of the budgets of this tower: "
                "raise it"
            )
        return replace(self, budget=max(budget for budget in BUDGETS if budget <= tokens))

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        """`low` fills the smallest budget.

        `auto` is `high` where that fits into `max_tiles` cells, else the largest of the tower's budgets that does, and
        `max_tiles` itself where none does. Where it has no more cells than `low`, it says so.
        """
        must_be_planned(width, height, self.facts, max_tiles)
        low = self._size(width, height, min(BUDGETS))
        if detail is Detail.LOW:
            return self._planned("low", low)
        size = self._size(width, height, self.budget)
        if detail is Detail.HIGH:
            return self._planned("high", size)
        if max_tiles is not None and self._cells(size) > max_tiles:
            size = self._largest_within(width, height, max_tiles)
        return self._planned("low" if self._cells(size) <= self._cells(low) else "high", size)

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        budget = min(BUDGETS) if detail == "low" else self.budget
        return {} if budget == self.own_budget == self.engine_budget else {"max_soft_tokens": budget}

    def _largest_within(self, width: int, height: int, cells: int) -> tuple[int, int]:
        sizes = [self._size(width, height, budget) for budget in BUDGETS if budget <= self.budget]
        fitting = [size for size in sizes if self._cells(size) <= cells]
        return fitting[-1] if fitting else self._size(width, height, cells)

    def _size(self, width: int, height: int, budget: int) -> tuple[int, int]:
        return fill_budget(width, height, self.cell, budget)

    def _cells(self, size: tuple[int, int]) -> int:
        return size[0] * size[1] // self.cell**2

    def _planned(self, detail: Literal["low", "high"], size: tuple[int, int]) -> ImagePlan:
        view = View(*size, self.cell, self.cell)
        runs = (
            Run(self.begin_token, 1, embeds=False),
            Run(self.image_token, view.tiles, embeds=True),
            Run(self.end_token, 1, embeds=False),
        )
        layout = SoftLayout((self.image_token,), runs)
        return ImagePlan(detail, (view,), patches=view.tiles * self.merge**2, layout=layout)
