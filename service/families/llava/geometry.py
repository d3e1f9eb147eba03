"""LLaVA-1.5's geometry: one tile, whatever the image.

The shorter side is brought to the tile's and the middle is cut out, as transformers' CLIPImageProcessor does, or the
whole image is brought to the tile (SigLIP's). All images take the same number of soft tokens, so `low` and `high` are
the same. Paper: Liu et al. 2023, arXiv:2310.03744.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from service.domain import Detail, Filter, ImagePlan, Run, SoftLayout, View
from service.errors import ConfigurationError
from service.families.base import FamilyFacts, must_be_planned
from service.families.llava.files import edge, read_files


@dataclass(frozen=True, slots=True)
class LlavaGeometry:
    """`tile` and `resize` in pixels."""

    facts: FamilyFacts
    tile: int
    resize: int | tuple[int, int]
    """The length of the shorter side, or (width, height), before the middle is cut out."""
    patches: int
    tokens: int
    image_token: int
    filter: Filter = Filter.BICUBIC

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

        Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
        """
        files = read_files(Path(path), "llava", "LlavaForConditionalGeneration")
        processor, file = files.processor, files.file
        if processor.get("do_pad"):
            raise ConfigurationError(f"model: {file} has do_pad = True; only False is supported")
        resize = edge(processor.get("size"), "size", file)
        crops = processor.get("do_center_crop", isinstance(resize, int))
        cut = edge(processor.get("crop_size"), "crop_size", file) if crops else resize
        if cut not in (files.tile, (files.tile, files.tile)) or (isinstance(resize, int) and not crops):
            raise ConfigurationError(
                f"model: {file} has size {processor.get('size')!r}, do_center_crop {crops} and crop_size "
                f"{processor.get('crop_size')!r}; the tower takes {files.tile}×{files.tile} pixels"
            )
        return cls(
            facts=files.facts,
            tile=files.tile,
            resize=resize,
            patches=files.grid**2,
            tokens=files.tokens,
            image_token=files.image_token,
            filter=files.filter,
        )

    @property
    def max_tokens(self) -> int:
        return self.tokens

    @property
    def largest(self) -> ImagePlan:
        return self.plan(self.tile, self.tile, Detail.HIGH)

    def limited(self, tokens: int) -> Self:
        if tokens < self.tokens:
            raise ConfigurationError(
                f"max_image_tokens ({tokens}) is less than the {self.tokens} that every image takes: raise it"
            )
        return self

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        must_be_planned(width, height, self.facts, max_tiles)
        tile, resized = self.tile, self._resized(width, height)
        view = View(
            *(tile, tile, tile, tile),
            resize=resized,
            offset=(_centred(tile, resized[0]), _centred(tile, resized[1])),
            filter=self.filter,
        )
        layout = SoftLayout((self.image_token,), (Run(self.image_token, self.tokens, embeds=True),))
        return ImagePlan("high" if detail is Detail.HIGH else "low", (view,), self.patches, layout)

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        return {}

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """As torchvision rounds it."""
        if isinstance(self.resize, tuple):
            return self.resize
        if width <= height:
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize


def _centred(tile: int, side: int) -> int:
    """Where a side of the resized image begins on the tile, as transformers' centre crop has it: a shorter side is
    padded, with the odd pixel behind it."""
    return (tile - side) // 2 if side < tile else -int((side - tile) / 2)
