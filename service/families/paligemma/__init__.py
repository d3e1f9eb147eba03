"""PaliGemma and PaliGemma 2, in Hugging Face format; one image in a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.gemma3.names import own_name
from service.families.paligemma.files import TEXT_DEFAULTS, read_geometry
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.paligemma import tower

    return tower


FAMILY = Family(read_geometry, _tower, lambda name: own_name(name) is not None, text_defaults=TEXT_DEFAULTS)
