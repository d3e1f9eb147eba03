"""Idefics2, in Hugging Face format; vLLM serves its language model, with a class of Patchbay's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.idefics2.files import TEXT_DEFAULTS, VISION_DEFAULTS
from service.families.idefics2.geometry import Idefics2Geometry
from service.families.idefics2.names import own_name
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.idefics2 import tower

    return tower


FAMILY = Family(
    Idefics2Geometry.from_checkpoint,
    _tower,
    lambda name: own_name(name) is not None,
    text_defaults=TEXT_DEFAULTS,
    vision_sizes=lambda vision: {**VISION_DEFAULTS, **vision},
)
