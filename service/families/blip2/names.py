"""Which tensors of a checkpoint are the vision tower's, the Q-Former's and the projector's."""

from __future__ import annotations

import re

_OWN = re.compile(r"(?:model\.)?((?:vision_model|qformer|language_projection)\..+|query_tokens)")


def own_name(stored: str) -> str | None:
    """The name in transformers' Blip2ForConditionalGeneration; None for a tensor of the language model."""
    found = _OWN.fullmatch(stored)
    return found[1] if found else None
