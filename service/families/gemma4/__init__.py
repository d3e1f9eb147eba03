"""Gemma 4 with its vision tower, in Hugging Face format; its audio is not served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.gemma4.files import TEXT_DEFAULTS, VISION_DEFAULTS
from service.families.gemma4.geometry import Gemma4Geometry
from service.families.gemma4.names import own_name
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.gemma4 import tower

    return tower


FAMILY = Family(
    Gemma4Geometry.from_checkpoint,
    _tower,
    lambda name: own_name(name) is not None,
    text_defaults=TEXT_DEFAULTS,
    vision_sizes=lambda config: {**VISION_DEFAULTS, **config},
)
