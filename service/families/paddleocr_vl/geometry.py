"""PaddleOCR-VL's geometry: Qwen-VL's, but for images with a side shorter than a cell, which are enlarged first.

Same sizes as transformers' PaddleOCRVLImageProcessor, same prompt as its processor: the soft tokens in the place of the
one `<|IMAGE_PLACEHOLDER|>` that the chat template writes. Paper: Cui et al. 2025, arXiv:2510.14528. Standard library
only.
"""

from __future__ import annotations

from pathlib import Path

from service.domain import Detail, ImagePlan
from service.families.base import must_be_planned
from service.families.native.geometry import NativeGeometry
from service.families.paddleocr_vl.files import read_facts


class PaddleOCRVLGeometry(NativeGeometry):
    """An image with a side shorter than a cell is planned as the larger one that the processor makes of it first."""

    __slots__ = ()

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        must_be_planned(width, height, self.facts, max_tiles)
        return NativeGeometry.plan(self, *enlarge(width, height, self.cell), detail, max_tiles)


def enlarge(width: int, height: int, cell: int) -> tuple[int, int]:
    """(width, height) of about the same shape in which no side is shorter than a cell.

    Python's rounding of halves to even is part of it. Sides whose ratio is within MAX_RATIO stay within it.
    """
    if height < cell:
        width, height = round(width * cell / height), cell
    if width < cell:
        width, height = cell, round(height * cell / width)
    return width, height


def read_geometry(folder: Path) -> PaddleOCRVLGeometry:
    """Reads config.json, the processor's configuration and tokenizer.json.

    Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
    """
    return PaddleOCRVLGeometry(**read_facts(folder))
