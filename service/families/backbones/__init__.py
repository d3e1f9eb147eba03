"""Public vision transformers that compute each tile by itself, shared by families: how transformers names their parts.

Each module builds its tower without weights (`build`), or a single layer of it (`layer`), and reads the pieces
(`parts`). `BACKBONES` is the table of them by the `model_type` of a vision_config.
"""

from __future__ import annotations

from service.families.backbones import clip, eva, intern_vit, siglip
from service.families.backbones.parts import Backbone, Parts

__all__ = ["BACKBONES", "Backbone", "Parts"]

BACKBONES: dict[str, Backbone] = {
    "blip_2_vision_model": eva,
    "clip_vision_model": clip,
    "internvl_vision": intern_vit,
    "siglip_vision_model": siglip,
}
