"""The document tells of every route, every error, and of requests what the code itself thinks of them."""

from __future__ import annotations

import inspect
import json
from typing import Any

import jsonschema
import pytest

from service import errors
from service.api import RequestLimits
from service.api.chat.fields import ChatFields
from service.api.chat.schema import parse_chat
from service.api.error_table import WHEN, by_status
from service.api.errors import error_object
from service.api.openapi import REF, document
from service.api.wire import accepted_fields
from service.errors import ConfigurationError, InvalidRequest, PatchbayError
from tests.service.api.fakes import Harness
from tests.service.api.test_routes import VLLM

SPEC = document()


def resolver(name: str) -> dict[str, Any]:
    """A schema of the document that can be validated with."""
    return {"$ref": REF + name, "components": SPEC["components"]}


def accepts(body: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(resolver("ChatCompletionRequest")).is_valid(body))


def parses(body: dict[str, Any]) -> bool:
    try:
        parse_chat(json.dumps(body).encode(), RequestLimits())
    except InvalidRequest:
        return False
    return True


def test_every_route_is_told_and_no_other() -> None:
    api = Harness(engine=VLLM(b"")).api
    routes = {
        (route.path.replace(":path", ""), method.lower())  # type: ignore[attr-defined]
        for route in api.routes
        for method in route.methods  # type: ignore[attr-defined]
        if method != "HEAD"
    }
    assert routes == {(path, verb) for path, verbs in SPEC["paths"].items() for verb in verbs}


def test_every_error_a_client_can_meet_is_told() -> None:
    kinds = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, PatchbayError) and not issubclass(kind, ConfigurationError)
    }
    assert kinds == set(WHEN)
    assert set(SPEC["paths"]["/v1/chat/completions"]["post"]["responses"]) == {
        "200",
        *map(str, by_status()),
    }


def test_every_reference_leads_somewhere() -> None:
    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(ref := value.get("$ref"), str):
                assert ref.removeprefix(REF) in SPEC["components"]["schemas"], ref
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(SPEC)


def test_every_schema_is_one() -> None:
    for name in SPEC["components"]["schemas"]:
        jsonschema.Draft202012Validator.check_schema(resolver(name))
    assert set(SPEC["components"]["schemas"]["ChatCompletionRequest"]["properties"]) == (
        accepted_fields(ChatFields) | ChatFields.refused.keys() | ChatFields.ignored
    )


TEXT = {"role": "user", "content": "hello"}
PICTURE = {
    "role": "user",
    "content": [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "text", "text": "What is this?"},
    ],
}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [TEXT]},
        {"messages": [PICTURE], "temperature": 0, "max_tokens": 5, "stream": True},
        {"messages": [TEXT], "stop": ["a", "b"], "seed": -5, "logit_bias": {"12": -100}},
        {"messages": [TEXT, {"role": "assistant", "content": None}, TEXT]},
        {"messages": [TEXT], "response_format": {"type": "json_object"}},
        {"messages": [TEXT], "structured_outputs": {"json": {"type": "object"}}},
        {"messages": []},
        {"messages": [TEXT], "temperature": 3},
        {"messages": [TEXT], "temperatur": 1},
        {"messages": [TEXT], "top_p": 0},
        {"messages": [{"role": "system", "content": PICTURE["content"]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://x"}]}]},
        {"messages": [TEXT], "cache_salt": "x"},
        {"messages": [TEXT], "cache_salt": None},
        {"messages": [TEXT], "echo": False, "best_of": 1, "length_penalty": 1.0, "verbosity": "low"},
        {"messages": [TEXT], "echo": True},
        {"messages": [TEXT], "best_of": True},
        {"messages": [TEXT], "max_tokens": 16.0},
        {"messages": [TEXT], "max_tokens": 16.5},
        {"messages": [TEXT, {"role": "assistant", "content": "a", "parsed": {"a": 1}}, TEXT]},
        {"messages": [TEXT | {"tool_calls": None, "refusal": None}]},
        {"messages": [TEXT | {"refusal": "no"}]},
        {"messages": [TEXT], "response_format": {"type": "xml"}},
    ],
    ids=str,
)
def test_document_and_code_are_of_one_mind(body: dict[str, Any]) -> None:
    assert accepts(body) == parses(body)


def test_an_error_has_the_shape_that_is_told() -> None:
    jsonschema.validate(error_object(InvalidRequest("no", param="n")), resolver("Error"))
