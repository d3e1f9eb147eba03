"""Mistral 3 (Mistral Small 3.1 and later), and Pixtral 12B in Hugging Face format, which is a LLaVA with this tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.families.llava.names import own_name
from service.families.llava.text import TEXT_DEFAULTS
from service.families.pixtral.geometry import PixtralGeometry
from service.families.registry import Family

if TYPE_CHECKING:
    from service.families.towers import TowerLoader


def _tower() -> TowerLoader:
    from service.families.pixtral import tower

    return tower


_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
}
"""What the hub's vision_config leaves out: the defaults of transformers' PixtralVisionConfig."""

FAMILY = Family(
    PixtralGeometry.from_checkpoint,
    _tower,
    lambda name: own_name(name) is not None,
    text_defaults=TEXT_DEFAULTS,
    vision_sizes=lambda config: {**_VISION, **config},
)
