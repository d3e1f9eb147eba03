"""Which tensors of a Qwen-VL checkpoint are the tower's and the mergers', in the names of several generations."""

from __future__ import annotations

import re

_OWN = re.compile(r"(?:model\.)?visual\.(.+)")


def own_name(stored: str) -> str | None:
    """The name in `visual`; None for a tensor of the language model."""
    found = _OWN.fullmatch(stored)
    return found[1] if found else None
