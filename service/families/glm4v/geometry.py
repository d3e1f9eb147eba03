"""GLM-4.1V's geometry: Qwen-VL's, but for thin images, and for bounds that count an image as two frames of a video.

Same sizes as transformers' Glm4vImageProcessor and Glm46VImageProcessor, same prompt as their processors: the soft
tokens in the place of the one `<|image|>` that the chat template writes. Paper: GLM-V Team 2025, arXiv:2507.01006.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.domain import Detail, ImagePlan
from service.errors import ConfigurationError
from service.families.base import must_be_planned
from service.families.native.files import read_facts
from service.families.native.geometry import NativeGeometry

FRAMES = 2
"""An image is so many equal frames to the processor, whose bounds are on the pixels of all of them."""
_SIZE = {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 15000}
"""Of both image processors."""
_TOKEN_NAMES = {
    "image_start": "<|begin_of_image|>",
    "image_end": "<|end_of_image|>",
    "image_token": "<|image|>",
    "video_start": "<|begin_of_video|>",
    "video_end": "<|end_of_video|>",
    "video_token": "<|video|>",
}


class Glm4vGeometry(NativeGeometry):
    """`min_pixels` and `max_pixels` are those of one frame."""

    __slots__ = ()

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        must_be_planned(width, height, self.facts, max_tiles)
        return NativeGeometry.plan(self, *enlarge(width, height, self.cell), detail, max_tiles)

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        options = NativeGeometry.processor_options(self, detail)
        return {
            name: {edge: FRAMES * pixels for edge, pixels in size.items()} for name, size in options.items()
        }


def enlarge(width: int, height: int, cell: int) -> tuple[int, int]:
    """(width, height) of which no side is shorter than a cell."""
    if min(width, height) >= cell:
        return width, height
    scale = max(cell / height, cell / width)
    return int(width * scale), int(height * scale)


def read_geometry(folder: Path) -> Glm4vGeometry:
    """Reads config.json, the processor's configuration and tokenizer.json.

    Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
    """
    fields = read_facts(folder, "glm4v", "Glm4vForConditionalGeneration", 14, tokens=_TOKEN_NAMES, size=_SIZE)
    for name in ("min_pixels", "max_pixels"):
        if fields[name] % FRAMES:
            raise ConfigurationError(
                f"model: {folder} brings images to sizes with an odd bound, {fields[name]}; needed are even numbers of "
                "pixels"
            )
        fields[name] //= FRAMES
    return Glm4vGeometry(**fields)


def vision_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """In this family's vision_config `intermediate_size` is the merger's; blocks are as wide inside as a soft token."""
    return {**config, "intermediate_size": config.get("out_hidden_size", 4096)}
