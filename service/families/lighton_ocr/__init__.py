"""LightOnOCR as released, and as transformers saves it, of which vLLM serves the language model alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.lighton_ocr.files import TEXT_DEFAULTS
from service.families.lighton_ocr.geometry import LightOnOcrGeometry
from service.families.lighton_ocr.names import own_name
from service.families.pixtral import FAMILY as PIXTRAL
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.lighton_ocr import tower

    return tower


FAMILY = Family(
    LightOnOcrGeometry.from_checkpoint,
    _tower,
    lambda name: own_name(name) is not None,
    text_defaults=TEXT_DEFAULTS,
    vision_sizes=PIXTRAL.vision_sizes,
)
