"""Which tensors of a checkpoint are the vision tower's and the connector's."""

from __future__ import annotations

import re

TEXT_PREFIX = "model.text_model."
"""Of the language model's tensors, but for its head."""
_OWN = re.compile(r"(?:model\.)?((?:vision_model|connector)\..+)")


def own_name(stored: str) -> str | None:
    """The name in `vision_model` or `connector`; None for a tensor of the language model."""
    found = _OWN.fullmatch(stored)
    return found[1] if found else None
