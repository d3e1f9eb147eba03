"""Idefics3, SmolVLM and SmolVLM2, in Hugging Face format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.idefics3.geometry import Idefics3Geometry
from service.families.idefics3.names import own_name
from service.families.llava.text import TEXT_DEFAULTS
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.idefics3 import tower

    return tower


FAMILY = Family(
    Idefics3Geometry.from_checkpoint,
    _tower,
    lambda name: own_name(name) is not None,
    text_defaults=TEXT_DEFAULTS,
)
