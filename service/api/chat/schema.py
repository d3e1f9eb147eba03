"""The body of a chat request → `ChatRequest`: allow-list, types, ranges, caps, and where the images are.

The result still holds the client's own JSON objects, so that the engine gets the numbers and strings that were sent.
What it needs in other words is in `forwarded`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.api.body import parse_json
from service.api.chat.arguments import check_arguments
from service.api.chat.companions import check_companions
from service.api.chat.fields import ChatFields
from service.api.chat.forwarded import LENGTHS, forwarded_chat
from service.api.chat.messages import ImagePart
from service.api.chat.parts import count_parts
from service.api.chat.template import check_template
from service.api.constraints.check import check_constraints
from service.api.limits import RequestLimits
from service.api.sampling.caps import check_cap, check_caps
from service.api.sentences import checked, describe
from service.domain import ANYBODY, Caller, ChatRequest, ImageRef
from service.errors import InvalidRequest, ModelNotFound, TooManyImages


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
    if isinstance(messages, list):
        check_cap(name, len(messages), limits.max_messages, "messages")
        check_cap(name, sum(map(count_parts, messages)), limits.max_parts, "parts and calls of tools")
    for field in ("system", "tools"):
        value = payload.get(field)
        check_cap(field, len(value) if isinstance(value, list) else 0, limits.max_parts, "elements")


def chat_request(
    payload: dict[str, Any],
    limits: RequestLimits,
    *,
    models: Sequence[str] = (),
    request_id: str = "",
    caller: Caller = ANYBODY,
) -> ChatRequest:
    """The same for a body that has been parsed already; members that mean nothing are taken out of `payload`."""
    fields = checked(ChatFields, payload)
    check_caps(fields, payload, limits, LENGTHS)
    check_cap("top_logprobs", fields.top_logprobs, limits.max_top_logprobs, "alternatives")
    check_companions(fields)
    check_template(fields.chat_template_kwargs, limits.template_words)
    check_constraints(fields, limits)
    check_arguments(fields, limits)
    model = served_model(fields.model, models, caller)
    return ChatRequest(
        payload=forwarded_chat(payload, fields, limits) | {"model": model},
        images=_images(fields, limits),
        model=model,
        stream=bool(fields.stream),
        include_usage=bool(fields.stream_options and fields.stream_options.include_usage),
        request_id=request_id,
        caller=caller,
    )


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
            if limits.model_images is not None and len(images) > limits.model_images:
                raise TooManyImages(
                    f"{path} is image number {len(images)}; this model takes at most {limits.model_images} in one "
                    "request.",
                    param=path,
                )
            if len(images) > limits.max_images:
                raise TooManyImages(
                    f"{path} is image number {len(images)}; at most {limits.max_images} are allowed in one "
                    "request. The server's max_images sets this limit.",
                    param=path,
                )
    return tuple(images)


def served_model(asked: str | None, models: Sequence[str], caller: Caller) -> str:
    """The model that is asked. Raises ModelNotFound."""
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
