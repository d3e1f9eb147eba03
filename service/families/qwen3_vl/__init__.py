"""Qwen3-VL, dense and with experts, and what was trained from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.native.names import own_name
from service.families.qwen3_vl.files import vision_sizes
from service.families.qwen3_vl.geometry import read_geometry
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.qwen3_vl import tower

    return tower


FAMILY = Family(read_geometry, _tower, lambda name: own_name(name) is not None, vision_sizes=vision_sizes)
