"""InternVL's geometry: which tiles an image becomes, how many soft tokens, and how they stand in the prompt.

Same tiling as transformers' GotOcr2ImageProcessor, same prompt as its InternVLProcessor: `<img>`, the soft tokens,
`</img>` in the place of the one `<IMG_CONTEXT>` that the chat template writes. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from service.domain import Detail, ImagePlan, Run, SoftLayout, View
from service.errors import ConfigurationError
from service.families.base import FamilyFacts, must_be_planned
from service.families.grids import best_grid, nearest_square
from service.families.internvl.files import read_facts


@dataclass(frozen=True, slots=True)
class InternVLGeometry:
    """Sides in pixels; `tokens_per_tile` soft tokens and `patches_per_tile` tower patches for each tile."""

    facts: FamilyFacts
    tile_width: int
    tile_height: int
    patches_per_tile: int
    tokens_per_tile: int
    min_patches: int
    max_patches: int
    start_token: int
    context_token: int
    end_token: int
    is_limited: bool = False
    """Whether `max_patches` is the operator's bound, and not the checkpoint's."""

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

        Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
        """
        return cls(**read_facts(Path(path)))

    @property
    def max_tiles(self) -> int:
        """Tiles of the largest image, thumbnail included."""
        return _with_thumbnail(self.max_patches)

    @property
    def max_tokens(self) -> int:
        return self.max_tiles * self.tokens_per_tile

    @property
    def largest(self) -> ImagePlan:
        return self._planned("high", *nearest_square(self.max_patches))

    def limited(self, tokens: int) -> Self:
        tiles = tokens // self.tokens_per_tile
        if not tiles:
            raise ConfigurationError(
                f"max_image_tokens ({tokens}) is less than the {self.tokens_per_tile} of one tile: raise it"
            )
        if tiles >= self.max_tiles:
            return self
        most = _without_thumbnail(tiles)
        return replace(self, min_patches=min(self.min_patches, most), max_patches=most, is_limited=True)

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        must_be_planned(width, height, self.facts, max_tiles)
        if detail is Detail.LOW:
            return self._planned("low", 1, 1)
        fewest, most = self.min_patches, self.max_patches
        if detail is Detail.AUTO and max_tiles is not None:
            most = min(most, _without_thumbnail(max_tiles))
            fewest = min(fewest, most)
        columns, rows = best_grid(width, height, self.tile_width, self.tile_height, fewest, most)
        applied: Literal["low", "high"] = "low" if detail is Detail.AUTO and columns * rows == 1 else "high"
        return self._planned(applied, columns, rows)

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        if detail == "low":
            return {"crop_to_patches": False}
        return {"min_patches": self.min_patches, "max_patches": self.max_patches} if self.is_limited else {}

    def _planned(self, detail: Literal["low", "high"], columns: int, rows: int) -> ImagePlan:
        grid = View(columns * self.tile_width, rows * self.tile_height, self.tile_width, self.tile_height)
        thumbnail = View(self.tile_width, self.tile_height, self.tile_width, self.tile_height)
        tiles = _with_thumbnail(columns * rows)
        return ImagePlan(
            detail=detail,
            views=(grid, thumbnail) if tiles > 1 else (grid,),
            patches=tiles * self.patches_per_tile,
            layout=self._layout(tiles * self.tokens_per_tile),
        )

    def _layout(self, tokens: int) -> SoftLayout:
        return SoftLayout(
            target=(self.context_token,),
            runs=(
                Run(self.start_token, 1, embeds=False),
                Run(self.context_token, tokens, embeds=True),
                Run(self.end_token, 1, embeds=False),
            ),
        )


def _with_thumbnail(tiles: int) -> int:
    return tiles + 1 if tiles > 1 else 1


def _without_thumbnail(tiles: int) -> int:
    """The largest grid that fits with its thumbnail: one of two would be three."""
    return tiles - 1 if tiles > 2 else 1
