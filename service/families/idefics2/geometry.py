"""Idefics2's geometry: an image keeps about its size, and a Perceiver makes as many soft tokens of any view of it.

`high` splits an image into its four quarters, in front of the whole, where the checkpoint's processor does; `low` is
the whole alone. Same pixels as transformers' Idefics2ImageProcessor, same prompt as its Idefics2Processor: soft tokens
of each view between words that neighbours share. Paper: Laurençon et al. 2024, arXiv:2405.02246. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from service.domain import Detail, Filter, ImagePlan, Run, SoftLayout, View
from service.errors import ConfigurationError
from service.families.base import FamilyFacts, must_be_planned
from service.families.idefics2.files import read_facts

Crop = tuple[int, int, int, int]
"""(left, top, width, height)"""
SPLIT = 5
"""Views of an image that is split: four quarters and the whole."""


@dataclass(frozen=True, slots=True)
class Idefics2Geometry:
    facts: FamilyFacts
    patch: int
    """Pixels on a side."""
    shortest: int
    """No side of a view is shorter, in pixels."""
    longest: int
    splits: bool
    latents: int
    """Soft tokens of a view."""
    image_token: int
    fake_token: int
    is_limited: bool = False
    """Whether it is the operator's bound that keeps images whole, and not the checkpoint."""

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
        """Of a square image whose quarters are as large as a view can be."""
        side = 2 * self.longest
        return self.plan(side, side, Detail.HIGH)

    def limited(self, tokens: int) -> Self:
        if tokens < self.latents:
            raise ConfigurationError(
                f"max_image_tokens ({tokens}) is less than the {self.latents} of one view: raise it"
            )
        if not self.splits or tokens >= SPLIT * self.latents:
            return self
        return replace(self, splits=False, is_limited=True)

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        """`low` is the whole image as one view; `auto` is `high` where its five views fit into `max_tiles`."""
        must_be_planned(width, height, self.facts, max_tiles)
        fits = detail is Detail.HIGH or (detail is Detail.AUTO and (max_tiles is None or max_tiles >= SPLIT))
        whole = self._view((0, 0, width, height))
        if not (fits and self.splits):
            return self._planned("high" if detail is Detail.HIGH else "low", (whole,))
        left, top = width // 2, height // 2
        quarters = (
            (0, 0, left, top),
            (left, 0, width - left, top),
            (0, top, left, height - top),
            (left, top, width - left, height - top),
        )
        return self._planned("high", (*map(self._view, quarters), whole))

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        splits = self.splits and detail != "low"
        return {"do_image_splitting": False} if not splits and (self.splits or self.is_limited) else {}

    def _planned(self, detail: Literal["low", "high"], views: tuple[View, ...]) -> ImagePlan:
        patches = sum(view.width * view.height for view in views) // self.patch**2
        return ImagePlan(detail, views, patches, self._layout(len(views)), grid=len(views) - 1)

    def _view(self, crop: Crop) -> View:
        """One tile; pixels right and below that fill no patch are cut off, as by a strided convolution."""
        size = self._size(*crop[2:])
        width, height = (side // self.patch * self.patch for side in size)
        return View(width, height, width, height, crop=crop, resize=size, filter=Filter.BILINEAR)

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """The longer side at most `longest`, with the other one in its ratio; then no side below `shortest`."""
        ratio = width / height
        if width >= height and width > self.longest:
            width, height = self.longest, int(self.longest / ratio)
        elif height > width and height > self.longest:
            width, height = int(self.longest * ratio), self.longest
        return max(width, self.shortest), max(height, self.shortest)

    def _layout(self, views: int) -> SoftLayout:
        fake = Run(self.fake_token, 1, embeds=False)
        runs = [fake, Run(self.image_token, self.latents, embeds=True)] * views
        join = (self.fake_token, self.fake_token, self.fake_token)  # images side by side share one
        return SoftLayout((self.image_token,), (*runs, fake), joins=(join,), spaced=True)
