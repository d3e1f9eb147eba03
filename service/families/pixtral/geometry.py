"""Pixtral's geometry, also that of Mistral 3: the size that an image is brought to, and its lines in the prompt.

An image is one view, and its *cells*, squares of merged patches that become one soft token each, are its tiles. Same
sizes as transformers' PixtralImageProcessor, same prompt as its PixtralProcessor: after each line of cells stands a
break token, after the last one an end token, in the place of the one `[IMG]` that the chat template writes. Paper:
Agrawal et al. 2024, arXiv:2410.07073. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any, Literal, Self

from service.domain import Detail, ImagePlan, Run, SoftLayout, View
from service.errors import InvalidRequest
from service.families.base import FamilyFacts, must_be_planned
from service.families.pixtral.files import LOW_EDGE, read_facts
from service.families.pixtral.resize import fit_cells, fit_edge


@dataclass(frozen=True, slots=True)
class PixtralGeometry:
    """`patch`: pixels on a side of a patch; `merge`: patches on a side of a cell."""

    facts: FamilyFacts
    patch: int
    merge: int
    edge: int
    """Pixels of a resized image's longer side at most."""
    own_edge: int
    """The same as the checkpoint's processor has it, before any limit."""
    fixed_edge: int | None
    """The only edge that the engine's own tower can apply; None where it can apply any."""
    image_token: int
    break_token: int
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
        return self.largest.tokens

    @property
    def largest(self) -> ImagePlan:
        return self.plan(self.edge, self.edge, Detail.HIGH)

    def limited(self, tokens: int) -> Self:
        """Brings images to the edge of the largest square that has no more; strips longer than that many times their
        width are then refused."""
        if tokens >= self.max_tokens:
            return self
        edge = isqrt(tokens) * self.cell
        facts = replace(self.facts, max_ratio=min(self.facts.max_ratio, edge))
        return replace(self, facts=facts, edge=edge)

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        """`low` brings the longer side to 512 pixels.

        `auto` is `high` where that fits into `max_tiles` cells, else the same shape with the longest edge that does.
        Where it has no more cells than `low`, it says so.
        """
        must_be_planned(width, height, self.facts, max_tiles)
        low = fit_edge(width, height, self._low_edge, self.cell)
        if detail is Detail.LOW:
            return self._planned("low", low)
        size = fit_edge(width, height, self.edge, self.cell)
        if detail is Detail.HIGH:
            return self._planned("high", size)
        if max_tiles is not None and self._cells(size) > max_tiles:
            size = fit_cells(width, height, self.edge, self.cell, max_tiles)
        return self._planned("low" if self._cells(size) <= self._cells(low) else "high", size)

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        edge = self._low_edge if detail == "low" else self.edge
        if self.fixed_edge not in (None, edge):
            raise InvalidRequest(
                f"detail {detail} brings images to {edge} pixels at most, and the tower of vLLM's "
                f"{self.facts.architecture} to {self.fixed_edge}, whatever is asked. Let Patchbay encode the images "
                "(images=handles)"
                + (" or ask for detail: high." if detail == "low" else " or leave max_image_tokens unset."),
                param="messages",
            )
        return {} if edge == self.own_edge else {"size": {"longest_edge": edge}}

    @property
    def _low_edge(self) -> int:
        return min(self.edge, LOW_EDGE)

    def _cells(self, size: tuple[int, int]) -> int:
        return size[0] * size[1] // self.cell**2

    def _planned(self, detail: Literal["low", "high"], size: tuple[int, int]) -> ImagePlan:
        view = View(*size, self.cell, self.cell)
        layout = SoftLayout((self.image_token,), self._lines(view.columns, view.rows))
        return ImagePlan(detail, (view,), patches=view.tiles * self.merge**2, layout=layout)

    def _lines(self, columns: int, rows: int) -> tuple[Run, ...]:
        line = Run(self.image_token, columns, embeds=True), Run(self.break_token, 1, embeds=False)
        return *(line * rows)[:-1], Run(self.end_token, 1, embeds=False)
