"""What the engine gets of a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.api.chat.fields import ChatFields
from service.api.limits import RequestLimits
from service.api.sampling.forwarded import forwarded

LENGTHS = ("max_tokens", "max_completion_tokens")


def forwarded_chat(payload: Mapping[str, Any], fields: ChatFields, limits: RequestLimits) -> dict[str, Any]:
    given = forwarded(payload, fields, limits, LENGTHS)
    # vLLM's default would begin a new message
    return given | ({"add_generation_prompt": False} if fields.continue_final_message else {})
