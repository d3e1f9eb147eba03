"""The API as an OpenAPI 3.1 document, made of what the code checks requests by and answers with.

The request's schema is `ChatFields`' own; the errors are those of `service.errors`. An answer's schema names what
Patchbay adds and leaves the rest to the engine, whose JSON is passed on. Not served by the API: a page of documentation
loads scripts from elsewhere, and who generates a client can do it from `python -m service.cli.reference openapi`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from service import __version__, errors
from service.api.chat.fields import ChatFields
from service.api.details import HEADER, MEMBER
from service.api.error_table import by_status

Document = dict[str, Any]
REF = "#/components/schemas/"
JSON, EVENTS = "application/json", "text/event-stream"


def document() -> Document:
    """OpenAPI 3.1. https://spec.openapis.org/oas/v3.1.0"""
    request = ChatFields.model_json_schema(ref_template=REF + "{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Patchbay",
            "version": __version__,
            "summary": "Vision-language models behind OpenAI's API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/chat/completions": {"post": _chat()},
            "/v1/models": {"get": _models()},
            "/v1/models/{name}": {"get": _model()},
            "/livez": {"get": _plain("The event loop turns. Says nothing of the engine.", JSON)},
            "/readyz": {"get": _ready()},
            "/metrics": {"get": _plain("Patchbay's metrics, for Prometheus.", "text/plain")},
            "/metrics/engine": {"get": _engine_metrics()},
        },
        "components": {
            "schemas": {
                **request.pop("$defs"),
                "ChatCompletionRequest": request,
                "ChatCompletion": _completion(),
                "Usage": _usage(),
                "Details": _details(),
                "Error": _error(),
                "Model": _object({"id": _STRING, "object": {"const": "model"}}, "id", "object"),
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


_STRING = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "1 to 128 letters, digits or ._:- which the answer, the log and the traces carry; else one is made.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
}
_TRACE = {
    "name": "traceparent",
    "in": "header",
    "description": "W3C trace context, continued where traces are on.",
    "schema": _STRING,
}
_DETAILS = {
    "name": HEADER,
    "in": "header",
    "description": f"1: the answer says in `{MEMBER}` what the request cost; a stream does in a chunk before its end.",
    "schema": {"enum": ["0", "1"], "default": "0"},
}


def _object(properties: Document, *required: str) -> Document:
    return {"type": "object", "properties": properties, "required": list(required)}


def _content(kind: str, schema: Document) -> Document:
    return {"content": {kind: {"schema": schema}}}


def _chat() -> Document:
    completion = {"$ref": REF + "ChatCompletion"}
    return {
        "summary": "Answer a conversation with images in it.",
        "parameters": [_REQUEST_ID, _TRACE, _DETAILS],
        "requestBody": {"required": True, **_content(JSON, {"$ref": REF + "ChatCompletionRequest"})},
        "responses": {
            "200": {
                "description": "The answer; with `stream` true, server-sent events that end with `data: [DONE]`.",
                "headers": {"X-Request-Id": {"schema": _STRING}},
                "content": {JSON: {"schema": completion}, EVENTS: {"schema": _STRING}},
            },
            **dict(_error_responses()),
        },
    }


def _error_responses() -> Iterator[tuple[str, Document]]:
    for status, kinds in by_status().items():
        codes = [kind.code for kind in kinds]
        response = {"description": ", ".join(codes), **_content(JSON, {"$ref": REF + "Error"})}
        if any(issubclass(kind, errors.Busy) for kind in kinds):
            response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": _COUNT}}
        yield str(status), response


def _models() -> Document:
    listed = _object(
        {"object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": REF + "Model"}}}
    )
    return {
        "summary": "The models served.",
        "responses": {"200": {"description": "One card.", **_content(JSON, listed)}},
    }


def _model() -> Document:
    return {
        "summary": "One model's card.",
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": _STRING}],
        "responses": {
            "200": {"description": "The card.", **_content(JSON, {"$ref": REF + "Model"})},
            "404": {"description": "model_not_found", **_content(JSON, {"$ref": REF + "Error"})},
        },
    }


def _plain(summary: str, kind: str) -> Document:
    schema = {"type": "object"} if kind == JSON else _STRING
    return {
        "summary": summary,
        "security": [],
        "responses": {"200": {"description": summary, **_content(kind, schema)}},
    }


def _ready() -> Document:
    state = _object(
        {"status": _STRING, "reasons": {"type": "object", "additionalProperties": _STRING}},
        "status",
        "reasons",
    )
    return {
        "summary": "Whether requests are answered now.",
        "security": [],
        "responses": {
            "200": {"description": "They are.", **_content(JSON, state)},
            "503": {"description": "They are not; `reasons` says why.", **_content(JSON, state)},
        },
    }


def _engine_metrics() -> Document:
    page = _plain("vLLM's own metrics, under its own names.", "text/plain")
    page["responses"]["503"] = {
        "description": "The engine does not answer.",
        **_content("text/plain", _STRING),
    }
    return page


def _completion() -> Document:
    choice = _object(
        {"index": _COUNT, "message": {"type": "object"}, "finish_reason": {"type": ["string", "null"]}}
    )
    return _object(
        {
            "id": _STRING,
            "object": {"const": "chat.completion"},
            "created": _COUNT,
            "model": _STRING,
            "choices": {"type": "array", "items": choice},
            "usage": {"$ref": REF + "Usage"},
            MEMBER: {"$ref": REF + "Details"},
        },
        *("id", "object", "created", "model", "choices", "usage"),
    )


def _usage() -> Document:
    details = _object(
        {
            "cached_tokens": {**_COUNT, "description": "Prompt tokens that were in the prefix cache."},
            "image_tokens": {**_COUNT, "description": "Soft tokens of all images."},
            "image_detail": {
                "type": "array",
                "items": {"enum": ["low", "high"]},
                "description": "The level that was applied to each image.",
            },
        }
    )
    return _object(
        {
            "prompt_tokens": _COUNT,
            "completion_tokens": _COUNT,
            "total_tokens": _COUNT,
            "prompt_tokens_details": {"anyOf": [details, {"type": "null"}]},
        },
        *("prompt_tokens", "completion_tokens", "total_tokens"),
    )


def _details() -> Document:
    milliseconds = {"type": "number", "minimum": 0}
    image = _object(
        {
            "width": {**_COUNT, "description": "Pixels, as displayed."},
            "height": _COUNT,
            "grid": {
                "type": "array",
                "items": _COUNT,
                "minItems": 2,
                "maxItems": 2,
                "description": "Columns and rows of tiles; a thumbnail is not among them.",
            },
            "tiles": {**_COUNT, "description": "All of them, the thumbnail included."},
            "tokens": _COUNT,
            "detail": {"enum": ["low", "high"]},
            "cached": {"type": "boolean"},
        },
        *("width", "height", "grid", "tiles", "tokens", "detail", "cached"),
    )
    return _object(
        {
            "total_ms": milliseconds,
            "stages_ms": {
                "type": "object",
                "additionalProperties": milliseconds,
                "description": "By stage; they sum to `total_ms`.",
            },
            "images": {"type": "array", "items": image},
        },
        *("total_ms", "stages_ms", "images"),
    )


def _error() -> Document:
    inner = _object(
        {
            "message": _STRING,
            "type": _STRING,
            "param": {"type": ["string", "null"], "description": "JSON path of the field that it is about."},
            "code": _STRING,
        },
        *("message", "type", "param", "code"),
    )
    return _object({"error": inner}, "error")
