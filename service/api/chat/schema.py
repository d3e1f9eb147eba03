"""The body of a chat request → `ChatRequest`: allow-list, types, ranges, caps, and where the images are.

The result still holds the client's own JSON objects, so that the engine gets the numbers and strings that were sent.
What it needs in other words is in `forwarded`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from service.api.body import parse_json
from service.api.chat.arguments import check_arguments
from service.api.chat.companions import check_companions
from service.api.chat.fields import ChatFields
from service.api.chat.forwarded import forwarded
from service.api.chat.messages import ImagePart
from service.api.constraints.check import check_constraints
from service.api.limits import RequestLimits
from service.api.sentences import describe, invalid_request
from service.domain import ANYBODY, Caller, ChatRequest, ImageRef
from service.errors import InvalidRequest, ModelNotFound, TooManyImages

COMPILED_FIELDS = ("tools", "response_format", "structured_outputs")


def parse_chat(
    body: bytes,
    limits: RequestLimits,
    *,
    models: Sequence[str] = (),
    request_id: str = "",
    caller: Caller = ANYBODY,
) -> ChatRequest:
    """Raises InvalidRequest, TooManyImages, and ModelNotFound for a name that is not among `models`.

    The first of `models` is asked when the request names none; an empty list accepts any name.
    """
    payload = json_object(body, limits)
    check_messages(payload, "messages", limits)
    return chat_request(payload, limits, models=models, request_id=request_id, caller=caller)


def json_object(body: bytes, limits: RequestLimits) -> dict[str, Any]:
    """Raises InvalidRequest."""
    value = parse_json(body, limits)
    if not isinstance(value, dict):
        raise InvalidRequest(f"The body should be a JSON object; received {describe(value)}.")
    return value


def check_messages(payload: Mapping[str, Any], name: str, limits: RequestLimits) -> None:
    """Bounds the conversation in the field `name` before anything looks into it. Raises InvalidRequest."""
    messages = payload.get(name)
    if isinstance(messages, list) and len(messages) > limits.max_messages:
        raise _over(name, len(messages), limits.max_messages, "messages")


def chat_request(
    payload: dict[str, Any],
    limits: RequestLimits,
    *,
    models: Sequence[str] = (),
    request_id: str = "",
    caller: Caller = ANYBODY,
) -> ChatRequest:
    """The same for a body that has been parsed already; members that mean nothing are taken out of `payload`."""
    try:
        fields = ChatFields.model_validate(payload)
    except ValidationError as error:
        raise invalid_request(error) from None
    _check_caps(fields, payload, limits)
    check_companions(fields)
    check_constraints(fields, limits)
    check_arguments(fields, limits)
    model = _model(fields.model, models, caller)
    return ChatRequest(
        payload=forwarded(payload, fields, limits) | {"model": model},
        images=_images(fields, limits),
        model=model,
        stream=bool(fields.stream),
        include_usage=bool(fields.stream_options and fields.stream_options.include_usage),
        request_id=request_id,
        caller=caller,
    )


def _check_caps(fields: ChatFields, payload: Mapping[str, Any], limits: RequestLimits) -> None:
    stops = len(fields.stop) if isinstance(fields.stop, list) else 0
    capped = (
        ("n", fields.n, limits.max_choices, "answers"),
        ("max_tokens", fields.max_tokens, limits.max_output_tokens, "tokens"),
        ("max_completion_tokens", fields.max_completion_tokens, limits.max_output_tokens, "tokens"),
        ("min_tokens", fields.min_tokens, limits.max_output_tokens, "tokens"),
        ("top_logprobs", fields.top_logprobs, limits.max_top_logprobs, "alternatives"),
        ("stop", stops, limits.max_stop, "strings"),
    )
    for name, value, most, unit in capped:
        if value is not None and value > most:
            raise _over(name, value, most, unit)
    for name in COMPILED_FIELDS:
        size = len(json.dumps(payload[name])) if payload.get(name) is not None else 0
        if size > limits.max_schema_bytes:
            raise _over(name, size, limits.max_schema_bytes, "bytes of JSON")


def _images(fields: ChatFields, limits: RequestLimits) -> tuple[ImageRef, ...]:
    images: list[ImageRef] = []
    for row, message in enumerate(fields.messages):
        if not isinstance(message.content, list):
            continue
        for column, part in enumerate(message.content):
            if not isinstance(part, ImagePart):
                continue
            path = f"messages[{row}].content[{column}].{part.url_path}"
            images.append(ImageRef(part.url, part.detail, row, column, path))
            if len(images) > limits.max_images:
                raise TooManyImages(
                    f"{path} is image number {len(images)}; at most {limits.max_images} are allowed in one "
                    "request. The server's max_images sets this limit.",
                    param=path,
                )
    return tuple(images)


def _model(asked: str | None, models: Sequence[str], caller: Caller) -> str:
    allowed = [name for name in models if may_use(caller, name)]
    if models and not allowed:
        raise ModelNotFound("This API key may not use any of the models that are served here.", param="model")
    if not asked:
        return allowed[0] if allowed else ""
    if models and asked not in allowed:
        served = ", ".join(repr(name) for name in allowed)
        whom = "" if caller.models is None else " for this API key"
        raise ModelNotFound(
            f"The model {describe(asked)} is not served here{whom}. Models served{whom}: {served}.",
            param="model",
        )
    return asked


def may_use(caller: Caller, model: str) -> bool:
    return caller.models is None or model in caller.models


def _over(name: str, value: int, most: int, unit: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {value} {unit} are too many; at most {most} are allowed.", param=name)
