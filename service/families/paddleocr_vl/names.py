"""Which tensors of a checkpoint are the tower's and the projector's, in the names of several generations.

The hub's checkpoints call them `visual.vision_model.…` and `mlp_AR.…`, transformers 5 `model.visual.vision_model.…` and
`model.projector.…` in its modules.
"""

from __future__ import annotations

import re

_TOWER = re.compile(r"(?:model\.)?visual\.vision_model\.(.+)")
_PROJECTOR = re.compile(r"(?:mlp_AR|model\.projector)\.(.+)")
_UNREAD = ("embeddings.packing_position_embedding.", "head.")
"""What training needed: positions of images without a shape, and a head that pools an image."""


def owns(stored: str) -> bool:
    """Whether a stored tensor is not the language model's."""
    return bool(_TOWER.fullmatch(stored) or _PROJECTOR.fullmatch(stored))


def own_name(stored: str) -> str | None:
    """The name in the tower or in `projector`; None for a tensor of the language model, or one that nobody reads."""
    if found := _PROJECTOR.fullmatch(stored):
        return f"projector.{found[1]}"
    found = _TOWER.fullmatch(stored)
    return found[1] if found and not found[1].startswith(_UNREAD) else None
