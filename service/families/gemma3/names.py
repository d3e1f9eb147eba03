"""Which tensors of a checkpoint are the vision tower's and the projector's, in the names of several generations."""

from __future__ import annotations

import re

_OWN = re.compile(r"(?:model\.)?((?:vision_tower|multi_modal_projector)\..+)")


def own_name(stored: str) -> str | None:
    """The name in `vision_tower` or `multi_modal_projector`; None for a tensor of the language model.

    The hub's checkpoints keep the tower in `vision_tower.vision_model`, transformers 5 in `vision_tower`.
    """
    found = _OWN.fullmatch(stored)
    return found[1].replace("vision_tower.vision_model.", "vision_tower.", 1) if found else None
