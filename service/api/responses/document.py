"""The Responses API in the OpenAPI document."""

from __future__ import annotations

from service import errors
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
    refusals,
)
from service.api.responses.fields import ResponsesFields


def response_paths() -> Document:
    told = {"object": {"const": "response.input_tokens"}, "input_tokens": COUNT}
    count = {
        "summary": "Count the tokens of such a request without answering it.",
        "parameters": [REQUEST_ID, TRACE],
        "requestBody": asked({"$ref": REF + "ResponsesRequest"}),
        "responses": answered("The count.", json_object(told, *told)),
    }
    return {
        "/v1/responses": generates(
            "Answer in the form of OpenAI's Responses API; nothing is stored.",
            *("ResponsesRequest", "Response"),
            last="`response.completed` or `response.incomplete`",
        ),
        "/v1/responses/input_tokens": {"post": count},
        "/v1/responses/{rest}": {verb: _stored() for verb in ("get", "post", "delete")},
    }


def response_schemas() -> Document:
    request = ResponsesFields.model_json_schema(ref_template=REF + "{model}")
    return {**request.pop("$defs"), "ResponsesRequest": request, "Response": _response()}


def _stored() -> Document:
    return {
        "summary": "Refused, because responses are not stored.",
        "parameters": [{"name": "rest", "in": "path", "required": True, "schema": STRING}],
        "responses": refusals(errors.NotStored, errors.Unauthorized),
    }


def _response() -> Document:
    item = json_object(
        {"id": STRING, "type": {"enum": ["message", "reasoning", "function_call"]}}, "id", "type"
    )
    images = {**COUNT, "description": "Soft tokens of all images."}
    counted = json_object({"cached_tokens": COUNT, "image_tokens": images}, "cached_tokens")
    usage = {
        "input_tokens": COUNT,
        "input_tokens_details": counted,
        "output_tokens": COUNT,
        "total_tokens": COUNT,
    }
    why = json_object({"reason": {"enum": ["max_output_tokens", "content_filter"]}}, "reason")
    properties = {
        "id": STRING,
        "object": {"const": "response"},
        "created_at": COUNT,
        "model": STRING,
        "status": {"enum": ["completed", "incomplete"]},
        "incomplete_details": or_null(why),
        "output": array_of(item),
        "usage": json_object(usage, *usage),
        "store": {"const": False},
    }
    return json_object({**properties, MEMBER: {"$ref": REF + "Details"}}, *properties)
