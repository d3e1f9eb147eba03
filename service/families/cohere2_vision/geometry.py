"""Command A Vision's geometry: InternVL's tiles and thumbnail, of a grid that covers the image.

Each tile's soft tokens end with a line break in the prompt, and the thumbnail comes last. Same pixels as transformers'
Cohere2VisionImageProcessor, same prompt as its Cohere2VisionProcessor. There is no paper of the vision model; Cohere's
page on image inputs (docs.cohere.com/docs/image-inputs) describes tiles and `detail`. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from service.domain import Detail, ImagePlan, Run, SoftLayout
from service.families.base import must_be_planned
from service.families.cohere2_vision.canvas import covering_grid
from service.families.cohere2_vision.files import read_facts
from service.families.internvl.geometry import InternVLGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohere2VisionGeometry(InternVLGeometry):
    """Tiles are squares, and `min_patches` is one: the processor has such a bound, and does not look at it."""

    line_break_token: int

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

        Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
        """
        return cls(**read_facts(Path(path)))

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        must_be_planned(width, height, self.facts, max_tiles)
        if detail is Detail.LOW:
            return self._planned("low", 1, 1)
        bounded = self
        if detail is Detail.AUTO and max_tiles is not None:
            bounded = self.limited(max_tiles * self.tokens_per_tile)
        columns, rows = covering_grid(width, height, self.tile_width, bounded.max_patches)
        applied: Literal["low", "high"] = "low" if detail is Detail.AUTO and columns * rows == 1 else "high"
        return self._planned(applied, columns, rows)

    def _layout(self, tokens: int) -> SoftLayout:
        tile = (
            Run(self.context_token, self.tokens_per_tile, embeds=True),
            Run(self.line_break_token, 1, embeds=False),
        )
        return SoftLayout(
            target=(self.context_token,),
            runs=(
                Run(self.start_token, 1, embeds=False),
                *tile * (tokens // self.tokens_per_tile),
                Run(self.end_token, 1, embeds=False),
            ),
        )
