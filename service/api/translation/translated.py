"""A translation as the chat request that it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.api.chat.schema import chat_request
from service.api.limits import RequestLimits
from service.api.translation.origins import Origins
from service.domain import Caller, ChatRequest
from service.errors import InvalidRequest, PatchbayError


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
        _check_messages(payload)
        request = chat_request(payload, limits, models=models, request_id=request_id, caller=caller)
    except PatchbayError as error:
        raise origins.rename(error) from None
    return origins.of_images(request)


def _check_messages(payload: Mapping[str, Any]) -> None:
    """What the client sent was not empty, but all of it may have been items that a model sees nothing of."""
    if not payload["messages"]:
        raise InvalidRequest("messages: nothing in it is for the model to read.", param="messages")
