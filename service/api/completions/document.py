"""Completions in the OpenAPI document."""

from __future__ import annotations

from service.api.completions.fields import CompletionFields
from service.api.details import MEMBER
from service.api.openapi_parts import COUNT, REF, STRING, Document, array_of, json_object


def completion_schemas() -> Document:
    request = CompletionFields.model_json_schema(ref_template=REF + "{model}")
    return {**request.pop("$defs"), "CompletionRequest": request, "Completion": _completion()}


def _completion() -> Document:
    choice = json_object({"index": COUNT, "text": STRING, "finish_reason": {"type": ["string", "null"]}})
    properties = {
        "id": STRING,
        "object": {"const": "text_completion"},
        "created": COUNT,
        "model": STRING,
        "choices": array_of(choice),
        "usage": {"$ref": REF + "Usage"},
    }
    return json_object({**properties, MEMBER: {"$ref": REF + "Details"}}, *properties)
