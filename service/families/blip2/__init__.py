"""BLIP-2 with a language model of OPT's, in Hugging Face format; one image in a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.blip2.files import TEXT_DEFAULTS, VISION_DEFAULTS, read_geometry
from service.families.blip2.names import own_name
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.blip2 import tower

    return tower


FAMILY = Family(
    read_geometry,
    _tower,
    lambda name: own_name(name) is not None,
    text_defaults=TEXT_DEFAULTS,
    vision_sizes=lambda vision: {**VISION_DEFAULTS, **vision},
)
