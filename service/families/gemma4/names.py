"""Which tensors of a checkpoint are the vision tower's and the projector's, in the names of several generations."""

from __future__ import annotations

import re

_OWN = re.compile(r"(?:model\.)?((?:vision_tower|embed_vision)\..+)")


def own_name(stored: str) -> str | None:
    """The name in `vision_tower` or `embed_vision`; None for a tensor of the language model or of the audio tower."""
    found = _OWN.fullmatch(stored)
    return found[1] if found else None
