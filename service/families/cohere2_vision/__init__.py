"""Command A Vision, in Hugging Face format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.cohere2_vision.files import TEXT_DEFAULTS
from service.families.cohere2_vision.geometry import Cohere2VisionGeometry
from service.families.gemma3.names import own_name
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.cohere2_vision import tower

    return tower


FAMILY = Family(
    Cohere2VisionGeometry.from_checkpoint,
    _tower,
    lambda name: own_name(name) is not None,
    text_defaults=TEXT_DEFAULTS,
)
