"""The Messages API in the OpenAPI document."""

from __future__ import annotations

from service.api.anthropic.fields import CountFields, MessagesFields
from service.api.details import MEMBER
from service.api.openapi_parts import (
    COUNT,
    REF,
    REQUEST_ID,
    STRING,
    TRACE,
    Document,
    answered,
    array_of,
    asked,
    generates,
    json_object,
    or_null,
)

ERROR = "AnthropicError"


def message_paths() -> Document:
    count = {
        "summary": "Count the tokens of such a request without answering it.",
        "parameters": [REQUEST_ID, TRACE],
        "requestBody": asked({"$ref": REF + "CountTokensRequest"}),
        "responses": answered("The count.", json_object({"input_tokens": COUNT}, "input_tokens"), ERROR),
    }
    return {
        "/v1/messages": generates(
            "Answer in the form of Anthropic's Messages API.",
            *("MessagesRequest", "Message"),
            last="`message_stop`",
            error=ERROR,
        ),
        "/v1/messages/count_tokens": {"post": count},
    }


def message_schemas() -> Document:
    schemas: Document = {"Message": _message(), ERROR: _error()}
    for name, kind in (("MessagesRequest", MessagesFields), ("CountTokensRequest", CountFields)):
        request = kind.model_json_schema(ref_template=REF + "{model}")
        schemas |= {**request.pop("$defs"), name: request}
    return schemas


def _message() -> Document:
    usage = {"input_tokens": COUNT, "cache_read_input_tokens": COUNT, "output_tokens": COUNT}
    properties = {
        "id": STRING,
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "model": STRING,
        "content": array_of(json_object({"type": {"enum": ["text", "thinking", "tool_use"]}}, "type")),
        "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]},
        "stop_sequence": or_null(STRING),
        "usage": json_object(usage, *usage),
    }
    return json_object({**properties, MEMBER: {"$ref": REF + "Details"}}, *properties)


def _error() -> Document:
    inner = json_object(
        {"type": STRING, "message": STRING, "param": or_null(STRING), "code": STRING}, "type", "message"
    )
    properties = {"type": {"const": "error"}, "error": inner, "request_id": STRING}
    return json_object(properties, *properties)
