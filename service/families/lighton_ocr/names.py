"""Which tensors of a LightOnOCR are the tower's and the projector's, in the names that Mistral 3 has for the same.

Of a released config.json alone, without weights, transformers makes a model with Mistral 3's own names.
"""

from __future__ import annotations

import re

TEXT_PREFIX = "model.language_model."
_PARTS = {
    "vision_encoder": "vision_tower",
    "vision_tower": "vision_tower",
    "vision_projection": "multi_modal_projector",
    "multi_modal_projector": "multi_modal_projector",
}
_OWN = re.compile(rf"(?:model\.)?({'|'.join(_PARTS)})\.(.+)")


def own_name(stored: str) -> str | None:
    """The name in `vision_tower` or `multi_modal_projector`; None for a tensor of the language model."""
    found = _OWN.fullmatch(stored)
    return f"{_PARTS[found[1]]}.{found[2]}" if found else None
