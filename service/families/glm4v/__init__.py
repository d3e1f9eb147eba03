"""GLM-4.1V and GLM-4.5V, and GLM-4.6V, whose checkpoints name the classes of these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.glm4v.geometry import read_geometry, vision_sizes
from service.families.native.names import own_name
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.glm4v import tower

    return tower


FAMILY = Family(read_geometry, _tower, lambda name: own_name(name) is not None, vision_sizes=vision_sizes)
