"""InternVL 2.5, 3 and 3.5 in Hugging Face format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.internvl.geometry import InternVLGeometry
from service.families.internvl.names import own_name
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.internvl import tower

    return tower


FAMILY = Family(InternVLGeometry.from_checkpoint, _tower, lambda name: own_name(name) is not None)
