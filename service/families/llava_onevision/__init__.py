"""LLaVA-OneVision and what was trained from it, in Hugging Face format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.llava.names import own_name
from service.families.llava_onevision.files import TEXT_DEFAULTS
from service.families.llava_onevision.geometry import LlavaOnevisionGeometry
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.llava_onevision import tower

    return tower


FAMILY = Family(
    LlavaOnevisionGeometry.from_checkpoint,
    _tower,
    lambda name: own_name(name) is not None,
    text_defaults=TEXT_DEFAULTS,
)
