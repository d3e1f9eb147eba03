"""Pieces of OpenAPI schemas that the documents of several routes are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from service import errors
from service.api.details import HEADER, MEMBER
from service.api.error_table import by_status

Document = dict[str, Any]
REF = "#/components/schemas/"
JSON, EVENTS = "application/json", "text/event-stream"
STRING: Document = {"type": "string"}
COUNT: Document = {"type": "integer", "minimum": 0}
REQUEST_ID: Document = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "1 to 128 letters, digits or ._:- that name the request in the answer, the log and the traces. "
    "Generated if it is absent or malformed.",
    "schema": STRING,
}
TRACE: Document = {
    "name": "traceparent",
    "in": "header",
    "description": "W3C trace context, continued if tracing is enabled.",
    "schema": STRING,
}

DETAILS: Document = {
    "name": HEADER,
    "in": "header",
    "description": f"1: the answer reports in `{MEMBER}` what the request cost; a stream does so in its last event.",
    "schema": {"enum": ["0", "1"], "default": "0"},
}
EVENT: Document = {
    "type": "object",
    "properties": {"data": {**STRING, "description": "JSON; OpenAI's completions end with `[DONE]`."}},
    "required": ["data"],
}
"""One of the events of a stream: OpenAPI before 3.2 has the schema of a stream describe each."""


def json_object(properties: Document, *required: str) -> Document:
    return {"type": "object", "properties": properties, "required": list(required)}


def array_of(item: Document, length: int | None = None) -> Document:
    bounds = {} if length is None else {"minItems": length, "maxItems": length}
    return {"type": "array", "items": item, **bounds}


def or_null(schema: Document) -> Document:
    return {"anyOf": [schema, {"type": "null"}]}


def content(kind: str, schema: Document) -> Document:
    return {"content": {kind: {"schema": schema}}}


def asked(schema: Document) -> Document:
    """A body that must be there."""
    return {"required": True, **content(JSON, schema)}


def answered(description: str, schema: Document, error: str = "Error") -> Document:
    """The answer to a request to the model, or all that can be wrong with it."""
    return {
        "200": {
            "description": description,
            "headers": {"X-Request-Id": {"schema": STRING}},
            **content(JSON, schema),
        },
        **dict(error_responses(error)),
    }


def error_responses(error: str) -> Iterator[tuple[str, Document]]:
    for status, kinds in by_status().items():
        yield str(status), _refusal(kinds, error)


def refusals(*kinds: type[errors.PatchbayError]) -> Document:
    """Those of a route that can meet few errors, by status."""
    return {
        str(status): _refusal([kind])
        for status, all_kinds in by_status().items()
        for kind in kinds
        if kind in all_kinds
    }


def _refusal(kinds: Sequence[type[errors.PatchbayError]], error: str = "Error") -> Document:
    codes = ", ".join(kind.code for kind in kinds)
    response: Document = {"description": codes, **content(JSON, {"$ref": REF + error})}
    if any(issubclass(kind, errors.Busy) for kind in kinds):
        response["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": COUNT}}
    return response


def image_sizes() -> Document:
    """Properties: an image as it was sent and as the model sees it."""
    return {
        "width": {**COUNT, "description": "Pixels as sent, upright."},
        "height": COUNT,
        "processed": {
            **array_of(COUNT, 2),
            "description": "Width and height, in pixels, of the canvas on which the model sees the image; of several, "
            "the one with the highest resolution.",
        },
        "placement": {
            **array_of({"type": "integer"}, 4),
            "description": "Left, top, width and height of the whole image on that canvas; what lies beyond the canvas "
            "was cut off.",
        },
        "tokens": {**COUNT, "description": "Soft tokens."},
    }


def image_cuts() -> Document:
    """Properties: how an image is cut into tiles."""
    return {
        "detail": {"enum": ["low", "high"], "description": "The level of detail that is applied."},
        "grid": {**array_of(COUNT, 2), "description": "Columns and rows of tiles, not counting a thumbnail."},
        "tiles": {**COUNT, "description": "Number of tiles, including a thumbnail."},
    }


def generates(summary: str, request: str, answer: str, *, last: str, error: str = "Error") -> Document:
    """A path where the model answers, in one piece or as events, the last of which is `last`."""
    told = f"The answer; if `stream` is true, server-sent events that end with {last}."
    responses = answered(told, {"$ref": REF + answer}, error)
    responses["200"]["content"][EVENTS] = {"schema": EVENT}
    operation = {
        "summary": summary,
        "parameters": [REQUEST_ID, TRACE, DETAILS],
        "requestBody": asked({"$ref": REF + request}),
        "responses": responses,
    }
    return {"post": operation}
