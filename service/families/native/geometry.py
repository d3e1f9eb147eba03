"""The geometry of native resolution: the size that an image is brought to, its soft tokens, its place in the prompt.

An image is one view, and its *cells*, squares of merged patches that become one soft token each, are its tiles. Same
sizes as transformers' Qwen2VLImageProcessor, same prompt as the processors of the Qwen-VL line: the soft tokens in the
place of the one `<|image_pad|>` that the chat template writes, between `<|vision_start|>` and `<|vision_end|>`, which
it writes itself. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, Self

from service.domain import Detail, ImagePlan, Run, SoftLayout, View
from service.errors import ConfigurationError
from service.families.base import FamilyFacts, must_be_planned
from service.families.grids import nearest_square
from service.families.native.files import read_facts
from service.families.native.resize import MAX_RATIO, most_cells, shrink, smart_resize

LOW_PIXELS = 512 * 512
"""OpenAI's `low` looks at an image of 512 × 512."""


@dataclass(frozen=True, slots=True)
class NativeGeometry:
    """`patch`: pixels on a side of a patch; `merge`: patches on a side of a cell."""

    facts: FamilyFacts
    patch: int
    merge: int
    min_pixels: int
    max_pixels: int
    image_token: int
    is_limited: bool = False
    """Whether `max_pixels` is the operator's bound, and not the checkpoint's."""

    @classmethod
    def from_checkpoint(cls, path: str | Path, *, family: str, architecture: str, patch: int = 14) -> Self:
        """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

        `patch` and `architecture` are what config.json may leave out. Raises ConfigurationError naming the file and the
        field that is missing, contradictory or not supported.
        """
        return cls(**read_facts(Path(path), family, architecture, patch))

    @property
    def cell(self) -> int:
        """Pixels on a side of what becomes one soft token."""
        return self.patch * self.merge

    @property
    def max_tokens(self) -> int:
        return self.largest.tokens

    @property
    def largest(self) -> ImagePlan:
        bound = most_cells(self.cell, self.min_pixels, self.max_pixels)
        # a few cells more where an image of just so many would have to be narrower than any
        shapes = (nearest_square(cells) for cells in count(bound))
        columns, rows = next((long, short) for long, short in shapes if long <= MAX_RATIO * short)
        return self._planned("high", (columns * self.cell, rows * self.cell))

    def limited(self, tokens: int) -> Self:
        """Strips take more cells than their pixels tell, so that a bound of few tokens costs all images some."""
        if tokens >= self.max_tokens:
            return self
        # the largest image has a shape, and may be a few cells more than the bound
        for bound in range(tokens, 0, -1):
            most = min(bound * self.cell**2, (bound * self.cell) ** 2 // MAX_RATIO, self.max_pixels)
            geometry = replace(self, min_pixels=min(self.min_pixels, most), max_pixels=most, is_limited=True)
            if geometry.max_tokens <= tokens:
                return geometry
        raise ConfigurationError(f"max_image_tokens ({tokens}) is too few for any image: raise it")

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        """`low` has at most 512 × 512 pixels and what rounding up adds to a checkpoint's own least.

        `auto` is `high` where that fits into `max_tiles` cells, else the same shape in as many as fit; a strip too
        narrow for them loses its shape. Where it has no more cells than `low`, it says so.
        """
        must_be_planned(width, height, self.facts, max_tiles)
        low = smart_resize(width, height, self.cell, *self._low_pixels)
        if detail is Detail.LOW:
            return self._planned("low", low)
        size = smart_resize(width, height, self.cell, self.min_pixels, self.max_pixels)
        if detail is Detail.HIGH:
            return self._planned("high", size)
        if max_tiles is not None and self._cells(size) > max_tiles:
            size = shrink(width, height, self.cell, max_tiles)
        return self._planned("low" if self._cells(size) <= self._cells(low) else "high", size)

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        if detail != "low" and not self.is_limited:
            return {}
        fewest, most = self._low_pixels if detail == "low" else (self.min_pixels, self.max_pixels)
        return {"size": {"shortest_edge": fewest, "longest_edge": most}}

    @property
    def _low_pixels(self) -> tuple[int, int]:
        most = min(self.max_pixels, LOW_PIXELS)
        return min(self.min_pixels, most), most

    def _cells(self, size: tuple[int, int]) -> int:
        return size[0] * size[1] // self.cell**2

    def _planned(self, detail: Literal["low", "high"], size: tuple[int, int]) -> ImagePlan:
        view = View(*size, self.cell, self.cell)
        layout = SoftLayout(
            target=(self.image_token,),
            runs=(Run(self.image_token, view.tiles, embeds=True),),
            grid=(1, view.height // self.patch, view.width // self.patch),
        )
        return ImagePlan(detail, (view,), patches=view.tiles * self.merge**2, layout=layout)
