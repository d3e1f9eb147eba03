"""The API as an OpenAPI 3.1 document, built from the models and tables that the code itself uses.

The request's schema is that of `ChatFields`; the errors are those of `service.errors`. An answer's schema names what
Patchbay adds and leaves the rest to the engine, whose JSON is passed on. It is served as
/openapi.json; documentation pages are not, because they load scripts from other sites.
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
            "/livez": {"get": _plain("Whether the gateway responds; says nothing about the engine.", JSON)},
            "/readyz": {"get": _ready()},
            "/health": {"get": _ready()},
            "/ping": {"get": _ready()},
            "/version": {"get": _plain("Patchbay's version.", JSON)},
            "/openapi.json": {"get": _plain("This document.", JSON)},
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
    "description": "1 to 128 letters, digits or ._:- that name the request in the answer, the log and the traces. "
    "Generated if it is absent or malformed.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
}
_TRACE = {
    "name": "traceparent",
    "in": "header",
    "description": "W3C trace context, continued if tracing is enabled.",
    "schema": _STRING,
}
_DETAILS = {
    "name": HEADER,
    "in": "header",
    "description": f"1: the answer reports in `{MEMBER}` what the request cost; a stream does so in its last chunk.",
    "schema": {"enum": ["0", "1"], "default": "0"},
}


def _object(properties: Document, *required: str) -> Document:
    return {"type": "object", "properties": properties, "required": list(required)}


def _content(kind: str, schema: Document) -> Document:
    return {"content": {kind: {"schema": schema}}}


def _chat() -> Document:
    completion = {"$ref": REF + "ChatCompletion"}
    return {
        "summary": "Answer a conversation that may contain images.",
        "parameters": [_REQUEST_ID, _TRACE, _DETAILS],
        "requestBody": {"required": True, **_content(JSON, {"$ref": REF + "ChatCompletionRequest"})},
        "responses": {
            "200": {
                "description": "The answer; if `stream` is true, server-sent events that end with `data: [DONE]`.",
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
            response["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": _COUNT}}
        yield str(status), response


def _models() -> Document:
    listed = _object(
        {"object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": REF + "Model"}}}
    )
    return {
        "summary": "List the models that are served.",
        "responses": {"200": {"description": "The models.", **_content(JSON, listed)}},
    }


def _model() -> Document:
    return {
        "summary": "Describe one model.",
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": _STRING}],
        "responses": {
            "200": {"description": "The model.", **_content(JSON, {"$ref": REF + "Model"})},
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
        "summary": "Whether requests can be served now.",
        "security": [],
        "responses": {
            "200": {"description": "They can.", **_content(JSON, state)},
            "503": {"description": "They cannot; `reasons` says why.", **_content(JSON, state)},
        },
    }


def _engine_metrics() -> Document:
    page = _plain("vLLM's own metrics, under its own names.", "text/plain")
    page["responses"]["503"] = {
        "description": "The engine did not deliver them.",
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
            "cached_tokens": {**_COUNT, "description": "Prompt tokens that were found in the prefix cache."},
            "image_tokens": {**_COUNT, "description": "Soft tokens of all images."},
            "image_detail": {
                "type": "array",
                "items": {"enum": ["low", "high"]},
                "description": "The level of detail that was applied to each image.",
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
                "description": "Columns and rows of tiles, not counting a thumbnail.",
            },
            "tiles": {**_COUNT, "description": "Number of tiles, including a thumbnail."},
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
                "description": "Milliseconds by stage; they add up to `total_ms`.",
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
            "param": {
                "type": ["string", "null"],
                "description": "JSON path of the field that the error is about.",
            },
            "code": _STRING,
            "cause": {
                "enum": list(errors.FetchCause),
                "description": "Only of `url_not_allowed` and `media_fetch_failed`: why the image could not be "
                "had from its URL.",
            },
        },
        *("message", "type", "param", "code"),
    )
    return _object({"error": inner}, "error")
