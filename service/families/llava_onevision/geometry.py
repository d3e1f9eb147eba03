"""LLaVA-OneVision's geometry: LLaVA-NeXT's, where a map of too many patches is shrunk before its newlines.

The shrinking is bilinear and after the projector, so it is part of the token map: each soft token is a weighted sum of
four rows. Every image is cut into tiles, also where a conversation has several, as in vLLM. Transformers' chat template
gives each of several images one tile alone. To follow it, an image's soft tokens would have to change when a later turn
brings another one; a client who wants fewer asks for `detail: low`, which is an overview and a newline, as many soft
tokens as there. Same pixels as transformers' LlavaOnevisionImageProcessor, same order as `pack_image_features`. Paper:
Li et al. 2024, arXiv:2408.03326.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

from service.domain import ImagePlan, Run, TokenMap
from service.families.llava_next.anyres import Size, lines
from service.families.llava_next.geometry import LlavaNextGeometry
from service.families.llava_onevision.files import read_onevision
from service.families.llava_onevision.shrinking import CORNERS, blended, plain, shrunk


@dataclass(frozen=True, slots=True)
class LlavaOnevisionGeometry(LlavaNextGeometry):
    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

        Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
        """
        return cls(**read_onevision(Path(path)))

    @property
    def largest(self) -> ImagePlan:
        """The tiles of the largest canvas, and the most soft tokens, which another one has: a map that just escapes
        being shrunk."""
        if not self.canvases:
            return self._overview_alone("high")
        canvas = max(self.canvases, key=self._tiles)
        plan = self._planned("high", *canvas, canvas)
        run = Run(self.image_token, max(map(self._most_tokens, self.canvases)), embeds=True)
        return replace(plan, layout=replace(plan.layout, runs=(run,)))

    def _map_tokens(self, columns: int, rows: int) -> int:
        columns, rows = shrunk(columns, rows, self.grid)
        return rows * (columns + 1)

    def _most_tokens(self, canvas: Size) -> int:
        columns, rows = self._patches(canvas)
        # of what is kept an even number is missing, in one direction
        maps = [(columns - bare, rows) for bare in range(0, columns, 2)]
        maps += [(columns, rows - bare) for bare in range(0, rows, 2)]
        return self.grid**2 + max(self._map_tokens(*size) for size in maps)

    def _token_map(self, columns: range, rows: range, tiles_across: int, newline: int) -> TokenMap:
        if shrunk(len(columns), len(rows), self.grid) == (len(columns), len(rows)):
            return LlavaNextGeometry._token_map(self, columns, rows, tiles_across, newline)
        return _shrunk_map(columns, rows, tiles_across, self.grid, newline)


@lru_cache(maxsize=32)
def _shrunk_map(columns: range, rows: range, tiles_across: int, side: int, newline: int) -> TokenMap:
    """Takes milliseconds where others take microseconds, and many images have the same size."""
    overview, weights = plain(range(side**2))
    numbers, step = lines(columns, rows, tiles_across, side, side**2, newline), len(columns) + 1
    kept = [numbers[begin : begin + step - 1] for begin in range(0, len(numbers), step)]
    index, weights_of_map = blended(kept, shrunk(len(columns), len(rows), side), newline)
    return TokenMap(newline, overview + index, weights + weights_of_map, CORNERS)
