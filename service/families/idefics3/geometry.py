"""Idefics3's and SmolVLM's geometry: an image is enlarged, cut into tiles, and shown once more as a whole.

Its longer side is brought to as many tiles as the checkpoint allows, then both sides to whole tiles, and the overview
is made of the result: three resizes, one after the other. In the prompt each tile stands behind a word for its row and
column, each line of tiles ends with a newline, and the overview comes last. Same pixels as transformers'
Idefics3ImageProcessor, same prompt as its Idefics3Processor. Papers: Laurençon et al. 2024, arXiv:2408.12637; Marafioti
et al. 2025, arXiv:2504.05299.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any, Literal, Self

from service.domain import Detail, Filter, ImagePlan, Run, SoftLayout, View
from service.errors import ConfigurationError
from service.families.base import FamilyFacts, must_be_planned
from service.families.idefics3.files import read_facts
from service.families.idefics3.splitting import enlarged, whole_tiles


@dataclass(frozen=True, slots=True)
class Idefics3Geometry:
    """`tile`: side of a tile in pixels; `patches` and soft `tokens` of one tile; the rest are token ids."""

    facts: FamilyFacts
    tile: int
    most: int
    """Tiles along an image's longer side."""
    patches: int
    tokens: int
    image_token: int
    fake_token: int
    global_token: int
    newline: int
    newlines: int | None
    """Two in one token, where the tokenizer has it."""
    words: tuple[tuple[int, ...], ...]
    """By row and column of a tile."""
    is_limited: bool = False
    """Whether `most` is the operator's bound, and not the checkpoint's."""

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

        Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
        """
        return cls(**read_facts(Path(path)))

    @property
    def max_tokens(self) -> int:
        return self.largest.tokens

    @property
    def largest(self) -> ImagePlan:
        """Of a square image."""
        return self.plan(self.tile, self.tile, Detail.HIGH)

    def limited(self, tokens: int) -> Self:
        if tokens < self.tokens:
            raise ConfigurationError(
                f"max_image_tokens ({tokens}) is less than the {self.tokens} of one tile: raise it"
            )
        tiles = tokens // self.tokens
        most = isqrt(tiles - 1) if tiles > 4 else 1  # tiles and the overview
        return self if most >= self.most else replace(self, most=most, is_limited=True)

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        """`low` is one tile, as the processor makes it without splitting.

        Under `auto` with `max_tiles` the longer side gets as many tiles as leave no more than these, overview included.
        """
        must_be_planned(width, height, self.facts, max_tiles)
        if detail is Detail.LOW:
            return self._whole("low", width, height)
        if detail is Detail.HIGH or max_tiles is None:
            return self._split("high", width, height, self.most)
        plans = (self._split("high", width, height, most) for most in range(self.most, 1, -1))
        return next((plan for plan in plans if plan.tiles <= max_tiles), self._whole("low", width, height))

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        limit = {"size": {"longest_edge": self.most * self.tile}} if self.is_limited else {}
        return limit | ({"do_image_splitting": False} if detail == "low" else {})

    def _whole(self, detail: Literal["low", "high"], width: int, height: int) -> ImagePlan:
        first = enlarged(width, height, self.most * self.tile)
        return ImagePlan(
            detail, (self._view((self.tile, self.tile), first),), self.patches, self._layout(0, 0)
        )

    def _split(self, detail: Literal["low", "high"], width: int, height: int, most: int) -> ImagePlan:
        first = enlarged(width, height, most * self.tile)
        canvas = whole_tiles(*first, self.tile)
        if canvas == (self.tile, self.tile):
            return ImagePlan(detail, (self._view(canvas, first),), self.patches, self._layout(0, 0))
        grid, overview = self._view(canvas, first), self._view((self.tile, self.tile), first, canvas)
        return ImagePlan(
            detail,
            (grid, overview),
            (grid.tiles + 1) * self.patches,
            self._layout(grid.rows, grid.columns),
        )

    def _view(self, size: tuple[int, int], *via: tuple[int, int]) -> View:
        return View(*size, self.tile, self.tile, filter=Filter.LANCZOS, via=via)

    def _layout(self, rows: int, columns: int) -> SoftLayout:
        """Of so many tiles and an overview; no rows are the overview alone."""
        runs: list[Run] = []
        for row in self.words[:rows]:
            for word in row[:columns]:
                runs += self._tile_runs(word)
            runs.append(Run(self.newline, 1, embeds=False))
        if rows and self.newlines is not None:
            runs[-1] = Run(self.newlines, 1, embeds=False)
        elif rows:
            runs[-1] = Run(self.newline, 2, embeds=False)
        runs += [*self._tile_runs(self.global_token), Run(self.fake_token, 1, embeds=False)]
        return SoftLayout((self.image_token,), tuple(runs))

    def _tile_runs(self, word: int) -> list[Run]:
        return [
            Run(self.fake_token, 1, embeds=False),
            Run(word, 1, embeds=False),
            Run(self.image_token, self.tokens, embeds=True),
        ]
