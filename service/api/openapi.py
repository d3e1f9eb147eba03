"""The API as an OpenAPI 3.1 document, built from the models and tables that the code itself uses.

The request's schema is that of `ChatFields`; the errors are those of `service.errors`. An answer's schema names what
Patchbay adds and leaves the rest to the engine, whose JSON is passed on. It is served as
/openapi.json; documentation pages are not, because they load scripts from other sites.
"""

from __future__ import annotations

from functools import cache

from service import __version__, errors
from service.api.anthropic.document import message_paths, message_schemas
from service.api.chat.fields import ChatFields
from service.api.completion import compact
from service.api.completions.document import completion_schemas
from service.api.details import MEMBER
from service.api.openapi_parts import (
    COUNT,
    JSON,
    REF,
    STRING,
    Document,
    array_of,
    content,
    generates,
    image_cuts,
    image_sizes,
    json_object,
    refusals,
)
from service.api.responses.document import response_paths, response_schemas
from service.api.tokenize.document import token_paths, token_schemas

DONE = "`data: [DONE]`"


@cache
def rendered() -> bytes:
    """The document as JSON: made once, because whoever asks for it needs no key."""
    return compact(document())


def document() -> Document:
    """OpenAPI 3.1. https://spec.openapis.org/oas/v3.1.0"""
    request = ChatFields.model_json_schema(ref_template=REF + "{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Patchbay",
            "version": __version__,
            "summary": "Vision-language models behind OpenAI's and Anthropic's APIs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/chat/completions": generates(
                "Answer a conversation that may contain images.",
                *("ChatCompletionRequest", "ChatCompletion"),
                last=DONE,
            ),
            "/v1/completions": generates("Go on with a text.", "CompletionRequest", "Completion", last=DONE),
            **response_paths(),
            **message_paths(),
            **token_paths(),
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
                **completion_schemas(),
                **token_schemas(),
                **response_schemas(),
                **message_schemas(),
                "Error": _error(),
                "Model": json_object({"id": STRING, "object": {"const": "model"}}, "id", "object"),
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "anthropicKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"key": []}, {"anthropicKey": []}],
    }


def _models() -> Document:
    listed = json_object(
        {"object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": REF + "Model"}}}
    )
    return {
        "summary": "List the models that are served.",
        "responses": {
            "200": {"description": "The models.", **content(JSON, listed)},
            **refusals(errors.Unauthorized, errors.EngineUnavailable),
        },
    }


def _model() -> Document:
    return {
        "summary": "Describe one model.",
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": STRING}],
        "responses": {
            "200": {"description": "The model.", **content(JSON, {"$ref": REF + "Model"})},
            **refusals(errors.Unauthorized, errors.ModelNotFound, errors.EngineUnavailable),
        },
    }


def _plain(summary: str, kind: str) -> Document:
    schema = {"type": "object"} if kind == JSON else STRING
    return {
        "summary": summary,
        "security": [],
        "responses": {"200": {"description": summary, **content(kind, schema)}},
    }


def _ready() -> Document:
    state = json_object(
        {"status": STRING, "reasons": {"type": "object", "additionalProperties": STRING}},
        "status",
        "reasons",
    )
    return {
        "summary": "Whether requests can be served now.",
        "security": [],
        "responses": {
            "200": {"description": "They can.", **content(JSON, state)},
            "503": {"description": "They cannot; `reasons` says why.", **content(JSON, state)},
        },
    }


def _engine_metrics() -> Document:
    page = _plain("vLLM's own metrics, under its own names.", "text/plain")
    page["responses"]["503"] = {
        "description": "The engine did not deliver them.",
        **content("text/plain", STRING),
    }
    return page


def _completion() -> Document:
    choice = json_object(
        {"index": COUNT, "message": {"type": "object"}, "finish_reason": {"type": ["string", "null"]}}
    )
    return json_object(
        {
            "id": STRING,
            "object": {"const": "chat.completion"},
            "created": COUNT,
            "model": STRING,
            "choices": {"type": "array", "items": choice},
            "usage": {"$ref": REF + "Usage"},
            MEMBER: {"$ref": REF + "Details"},
        },
        *("id", "object", "created", "model", "choices", "usage"),
    )


def _usage() -> Document:
    details = json_object(
        {
            "cached_tokens": {**COUNT, "description": "Prompt tokens that were found in the prefix cache."},
            "image_tokens": {**COUNT, "description": "Soft tokens of all images."},
            "image_detail": {
                **array_of({"enum": ["low", "high"]}),
                "description": "The level of detail that was applied to each image.",
            },
            "images": {
                **array_of(json_object(image_sizes(), *image_sizes())),
                "description": "Each image as it was sent and as the model sees it.",
            },
        }
    )
    return json_object(
        {
            "prompt_tokens": COUNT,
            "completion_tokens": COUNT,
            "total_tokens": COUNT,
            "prompt_tokens_details": {"anyOf": [details, {"type": "null"}]},
        },
        *("prompt_tokens", "completion_tokens", "total_tokens"),
    )


def _details() -> Document:
    milliseconds = {"type": "number", "minimum": 0}
    image = json_object(
        {
            **image_sizes(),
            **image_cuts(),
            "cached": {"type": "boolean"},
            "reduced": {"type": "boolean"},
        },
        *(*image_sizes(), *image_cuts(), "cached", "reduced"),
    )
    return json_object(
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
    inner = json_object(
        {
            "message": STRING,
            "type": STRING,
            "param": {
                "type": ["string", "null"],
                "description": "JSON path of the field that the error is about.",
            },
            "code": STRING,
            "cause": {
                "enum": list(errors.FetchCause),
                "description": "Only of `url_not_allowed` and `media_fetch_failed`: why the image could not be "
                "had from its URL.",
            },
        },
        *("message", "type", "param", "code"),
    )
    return json_object({"error": inner}, "error")
