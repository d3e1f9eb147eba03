"""The OpenAPI document and the code are of one mind about the Messages API."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from service.api.anthropic.errors import in_anthropics_words
from service.api.anthropic.fields import CountFields, MessagesFields
from service.api.completion import Completion
from service.api.errors import error_object
from service.api.openapi import document
from service.api.openapi_parts import REF
from service.api.wire import Wire, accepted_fields
from service.domain import Record
from service.errors import InvalidRequest
from tests.service.api.answers import call, completion
from tests.service.api.anthropic.test_translate import (
    HI,
    IMAGE,
    LINK,
    TEXT,
    TOOL,
    USE,
    assistant,
    read,
    result,
    user,
)

SPEC = document()


def schema(name: str) -> dict[str, Any]:
    return {"$ref": REF + name, "components": SPEC["components"]}


@pytest.mark.parametrize(
    "name, kind", [("MessagesRequest", MessagesFields), ("CountTokensRequest", CountFields)]
)
def test_every_field_is_told(name: str, kind: type[Wire]) -> None:
    told = SPEC["components"]["schemas"][name]["properties"].keys()
    assert told == accepted_fields(kind) | kind.refused.keys() | kind.ignored


@pytest.mark.parametrize(
    "turns, fields",
    [
        ([HI], {}),
        ([user(TEXT, IMAGE, LINK)], {"system": [TEXT], "stream": True}),
        ([HI, assistant(USE), user(result([IMAGE, TEXT]))], {"tools": [TOOL]}),
        ([HI], {"tools": [TOOL], "tool_choice": {"type": "any"}, "metadata": {"user_id": "u"}}),
        ([HI], {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ([HI], {"container": "c"}),
        ([HI], {"container": None}),
        ([HI], {"max_tokens": 0}),
        ([], {}),
        ([user({"type": "document", "source": {}})], {}),
        ([assistant(IMAGE)], {}),
    ],
    ids=str,
)
def test_requests(turns: list[Any], fields: dict[str, Any]) -> None:
    body = json.loads(json.dumps({"messages": turns, "max_tokens": 5} | fields))
    valid = jsonschema.Draft202012Validator(schema("MessagesRequest")).is_valid(body)
    try:
        read(*turns, **fields)
    except InvalidRequest:
        assert not valid
    else:
        assert valid


def test_answers() -> None:
    answer = completion("Red.", reasoning="Hm.", calls=[call("c", "f", "{}")], stop="END")
    jsonschema.validate(json.loads(read(HI).whole(Completion(answer), Record())), schema("Message"))


def test_errors() -> None:
    told = in_anthropics_words(error_object(InvalidRequest("no", param="n")), 400, "r")
    jsonschema.validate(told, schema("AnthropicError"))
