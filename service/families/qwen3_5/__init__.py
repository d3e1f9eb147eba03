"""Qwen3.5 and Qwen3.6, dense and with experts, and what was trained from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.native.names import own_name
from service.families.qwen3_5.files import TEXT_DEFAULTS, read_geometry
from service.families.qwen3_vl.files import vision_sizes
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.qwen3_5 import tower

    return tower


FAMILY = Family(
    read_geometry,
    _tower,
    lambda name: own_name(name) is not None,
    text_defaults=TEXT_DEFAULTS,
    vision_sizes=vision_sizes,
)
