"""PaddleOCR-VL and PaddleOCR-VL 1.5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.paddleocr_vl.geometry import read_geometry
from service.families.paddleocr_vl.names import owns
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.paddleocr_vl import tower

    return tower


FAMILY = Family(read_geometry, _tower, owns)
