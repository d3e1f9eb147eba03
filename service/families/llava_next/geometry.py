"""LLaVA-NeXT's geometry: an overview, and the image itself in tiles on the canvas that suits it best.

The overview is the whole image squeezed to one tile. On its canvas the image keeps its shape, in the middle of black
padding; of the tiles' soft tokens those of the padding are dropped, and a learned newline stands behind each line:
that is the token map. Same pixels as transformers' LlavaNextImageProcessor, same order as `pack_image_features`.
Model: Liu et al. 2024, https://llava-vl.github.io/blog/2024-01-30-llava-next/.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from service.domain import Detail, Filter, ImagePlan, Run, SoftLayout, TokenMap, View
from service.errors import ConfigurationError, InvalidRequest
from service.families.base import FamilyFacts, must_be_planned
from service.families.llava_next.anyres import Size, best_canvas, fitted, kept, lines
from service.families.llava_next.files import read_facts


@dataclass(frozen=True, slots=True)
class LlavaNextGeometry:
    """`tile`: side of a tile in pixels; `grid`: patches, and soft tokens, on a side of a tile."""

    facts: FamilyFacts
    tile: int
    grid: int
    canvases: tuple[Size, ...]
    """(width, height) in pixels: whole tiles."""
    image_token: int
    filter: Filter = Filter.BICUBIC
    is_limited: bool = False
    """Whether `canvases` are fewer than the checkpoint's, by the operator's bound."""

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
        """Of an image that fills its canvas."""
        plans = [self._planned("high", *canvas, canvas) for canvas in self.canvases]
        return max(plans, key=lambda plan: plan.tokens, default=self._overview_alone("high"))

    def limited(self, tokens: int) -> Self:
        canvases = tuple(canvas for canvas in self.canvases if self._most_tokens(canvas) <= tokens)
        if not canvases and tokens < (least := self._overview_alone("low").tokens):
            raise ConfigurationError(
                f"max_image_tokens ({tokens}) is less than the {least} of an image's overview: raise it"
            )
        return self if canvases == self.canvases else replace(self, canvases=canvases, is_limited=True)

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        """`low` is the overview alone, in the form that transformers gives an image of one tile.

        Under `auto` with `max_tiles` it is the canvas of so few tiles, or of fewer, that takes the most soft tokens.
        """
        must_be_planned(width, height, self.facts, max_tiles)
        if detail is Detail.LOW or not self.canvases:
            return self._overview_alone("low" if detail is not Detail.HIGH else "high")
        if detail is Detail.HIGH or max_tiles is None:
            return self._planned("high", width, height, best_canvas(width, height, self.canvases))
        canvas = self._canvas_within(width, height, max_tiles)
        return self._planned("high", width, height, canvas) if canvas else self._overview_alone("low")

    def _canvas_within(self, width: int, height: int, max_tiles: int) -> Size | None:
        """Of the canvases that suit the image best among those of so many tiles or fewer, the one on which it takes the
        most soft tokens, but no more than it would without a bound; None where the overview alone is as good."""
        best = best_canvas(width, height, self.canvases)
        most, taken, found = self._tokens(width, height, best), self.grid**2 + 1, None
        if self._tiles(best) < max_tiles and most > taken:
            return best
        for tiles in sorted({self._tiles(one) for one in self.canvases if self._tiles(one) < max_tiles}):
            canvas = best_canvas(width, height, [one for one in self.canvases if self._tiles(one) <= tiles])
            if taken < (tokens := self._tokens(width, height, canvas)) <= most:
                taken, found = tokens, canvas
        return found

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        if detail == "low" or self.is_limited:
            asked = "detail: low" if detail == "low" else "max_image_tokens"
            raise InvalidRequest(
                f"{asked} cannot be applied by the engine's own tower for a checkpoint of family {self.facts.family}; "
                "it needs images=handles",
                param="messages",
            )
        return {}

    def _tiles(self, canvas: Size) -> int:
        return canvas[0] * canvas[1] // self.tile**2

    def _patches(self, canvas: Size) -> Size:
        """Columns and rows of patches."""
        return canvas[0] // self.tile * self.grid, canvas[1] // self.tile * self.grid

    def _tokens(self, width: int, height: int, canvas: Size) -> int:
        """Soft tokens of an image on that canvas."""
        columns, rows = kept(width, height, *self._patches(canvas))
        return self.grid**2 + self._map_tokens(len(columns), len(rows))

    def _map_tokens(self, columns: int, rows: int) -> int:
        """Soft tokens of so many lines of patches, newlines included."""
        return rows * (columns + 1)

    def _most_tokens(self, canvas: Size) -> int:
        """No image on that canvas has more."""
        return self.grid**2 + self._map_tokens(*self._patches(canvas))

    @property
    def _overview(self) -> View:
        return View(self.tile, self.tile, self.tile, self.tile, filter=self.filter)

    def _overview_alone(self, detail: Literal["low", "high"]) -> ImagePlan:
        tokens = self.grid**2
        return self._plan(
            detail, (self._overview,), TokenMap(tokens, array("q", range(tokens + 1))), tokens + 1, grid=0
        )

    def _planned(self, detail: Literal["low", "high"], width: int, height: int, canvas: Size) -> ImagePlan:
        resized = fitted(width, height, canvas)
        view = View(
            *canvas,
            self.tile,
            self.tile,
            resize=resized,
            offset=((canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2),
            filter=self.filter,
        )
        columns, rows = kept(width, height, *self._patches(canvas))
        token_map = self._token_map(columns, rows, view.columns, (1 + view.tiles) * self.grid**2)
        tokens = self._tokens(width, height, canvas)
        return self._plan(detail, (self._overview, view), token_map, tokens, grid=1)

    def _token_map(self, columns: range, rows: range, tiles_across: int, newline: int) -> TokenMap:
        """The overview, and lines of the patches that are kept of a canvas; `newline`: that constant's number."""
        index = array("q", range(self.grid**2))
        index.extend(lines(columns, rows, tiles_across, self.grid, self.grid**2, newline))
        return TokenMap(newline, index)

    def _plan(
        self,
        detail: Literal["low", "high"],
        views: tuple[View, ...],
        token_map: TokenMap,
        tokens: int,
        grid: int,
    ) -> ImagePlan:
        layout = SoftLayout((self.image_token,), (Run(self.image_token, tokens, embeds=True),))
        return ImagePlan(detail, views, token_map.rows, layout, token_map, grid)
