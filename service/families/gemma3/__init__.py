"""Gemma 3 with its vision tower (4B and larger), in Hugging Face format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.gemma3.files import TEXT_DEFAULTS, read_geometry
from service.families.gemma3.names import own_name
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.gemma3 import tower

    return tower


FAMILY = Family(read_geometry, _tower, lambda name: own_name(name) is not None, text_defaults=TEXT_DEFAULTS)
