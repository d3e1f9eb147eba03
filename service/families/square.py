"""Geometry of families that squeeze every image to one square tile, so that all images take the same.

`low` and `high` are the same, and there is nothing that `max_image_tokens` could shorten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from service.domain import Detail, Filter, ImagePlan, SoftLayout, View
from service.errors import ConfigurationError
from service.families.base import FamilyFacts, must_be_planned


@dataclass(frozen=True, slots=True)
class SquareGeometry:
    facts: FamilyFacts
    tile: int
    """Pixels on a side."""
    patches: int
    layout: SoftLayout
    filter: Filter

    @property
    def max_tokens(self) -> int:
        return self.layout.tokens

    @property
    def largest(self) -> ImagePlan:
        return self.plan(self.tile, self.tile, Detail.HIGH)

    def limited(self, tokens: int) -> Self:
        if tokens < self.max_tokens:
            raise ConfigurationError(
                f"max_image_tokens ({tokens}) is less than the {self.max_tokens} that every image takes: raise it"
            )
        return self

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        must_be_planned(width, height, self.facts, max_tiles)
        view = View(self.tile, self.tile, self.tile, self.tile, filter=self.filter)
        return ImagePlan("high" if detail is Detail.HIGH else "low", (view,), self.patches, self.layout)

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        return {}
