"""A translation as the chat request that it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.api.chat.schema import chat_request
from service.api.limits import RequestLimits
from service.api.translation.origins import Origins
from service.domain import Caller, ChatRequest
from service.errors import PatchbayError


def translated(
    payload: dict[str, Any],
    origins: Origins,
    limits: RequestLimits,
    *,
    models: Sequence[str],
    request_id: str,
    caller: Caller,
) -> ChatRequest:
    """`payload` is the translation, and `origins` says where its parts came from.

    Raises what `chat_request` raises, about the fields that the client wrote.
    """
    try:
        request = chat_request(payload, limits, models=models, request_id=request_id, caller=caller)
    except PatchbayError as error:
        raise origins.rename(error) from None
    return origins.of_images(request)
