"""The bodies of vLLM's routes /tokenize and /detokenize → `ChatRequest`, as strict as a chat request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from service.api.chat.schema import chat_request, check_messages, json_object, served_model
from service.api.limits import RequestLimits
from service.api.sentences import checked, describe
from service.api.tokenize.fields import PromptFields, TokensFields
from service.domain import ANYBODY, Caller, ChatRequest, Route
from service.errors import InvalidRequest


def parse_tokenize(
    body: bytes,
    limits: RequestLimits,
    *,
    models: Sequence[str] = (),
    request_id: str = "",
    caller: Caller = ANYBODY,
) -> ChatRequest:
    """A text under `prompt`, or a chat request. Raises what `parse_chat` raises."""
    payload = json_object(body, limits)
    for name in ("messages", "prompt"):
        if payload.get(name) is None:
            payload.pop(name, None)
    if "messages" in payload:
        if "prompt" in payload:
            raise InvalidRequest("prompt: messages are there already; send one of the two.", param="prompt")
        strings = _flag(payload.pop("return_token_strs", None))
        check_messages(payload, "messages", limits)
        chat = chat_request(payload, limits, models=models, request_id=request_id, caller=caller)
        asked = {**chat.payload, "return_token_strs": strings}
        return replace(chat, payload=asked, route=Route.TOKENIZE, stream=False)
    fields = checked(PromptFields, payload)
    model = served_model(fields.model, models, caller)
    return _request(payload, model, request_id, caller, Route.TOKENIZE)


def parse_detokenize(
    body: bytes,
    limits: RequestLimits,
    *,
    models: Sequence[str] = (),
    request_id: str = "",
    caller: Caller = ANYBODY,
) -> ChatRequest:
    """A list of tokens. Raises InvalidRequest, and ModelNotFound for a name that is not among `models`."""
    payload = json_object(body, limits)
    fields = checked(TokensFields, payload)
    model = served_model(fields.model, models, caller)
    return _request({"tokens": fields.tokens}, model, request_id, caller, Route.DETOKENIZE)


def _request(
    payload: dict[str, Any], model: str, request_id: str, caller: Caller, route: Route
) -> ChatRequest:
    return ChatRequest(
        payload={name: value for name, value in payload.items() if value is not None} | {"model": model},
        images=(),
        model=model,
        stream=False,
        include_usage=False,
        request_id=request_id,
        caller=caller,
        route=route,
    )


def _flag(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidRequest(
        f"return_token_strs: input should be a valid boolean; received {describe(value)}.",
        param="return_token_strs",
    )
