"""The OpenAPI document and the code are of one mind about the Responses API."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from service.api.completion import Completion
from service.api.openapi import document
from service.api.openapi_parts import REF
from service.api.responses.fields import ResponsesFields
from service.api.wire import accepted_fields
from service.domain import Record
from service.errors import InvalidRequest
from tests.service.api.answers import call, completion
from tests.service.api.responses.test_translate import CALLED, IMAGE, SAID, TEXT, THOUGHT, TOOL, read, user

SPEC = document()


def schema(name: str) -> dict[str, Any]:
    return {"$ref": REF + name, "components": SPEC["components"]}


def test_every_field_is_told() -> None:
    told = SPEC["components"]["schemas"]["ResponsesRequest"]["properties"].keys()
    assert told == accepted_fields(ResponsesFields) | ResponsesFields.refused.keys() | ResponsesFields.ignored


@pytest.mark.parametrize(
    "body",
    [
        {"input": "hi"},
        {"input": [user(TEXT, IMAGE)], "instructions": "Be brief.", "store": True},
        {"input": [user(TEXT), THOUGHT, SAID, CALLED]},
        {"input": "hi", "tools": [TOOL], "tool_choice": "required"},
        {"input": "hi", "tools": [{"type": "web_search"}]},
        {"input": "hi", "previous_response_id": "resp_1"},
        {"input": "hi", "previous_response_id": None, "truncation": "disabled"},
        {"input": "hi", "truncation": "auto"},
        {"input": []},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": [user({"type": "input_file", "file_id": "f"})]},
        {"input": [{"role": "system", "content": [IMAGE]}]},
        {"input": "hi", "temperature": 3},
    ],
    ids=str,
)
def test_requests(body: dict[str, Any]) -> None:
    valid = jsonschema.Draft202012Validator(schema("ResponsesRequest")).is_valid(body)
    try:
        copy = json.loads(json.dumps(body))
        read(copy.pop("input"), **copy)
    except InvalidRequest:
        assert not valid
    else:
        assert valid


def test_answers() -> None:
    answer = completion("Red.", reasoning="Hm.", calls=[call("c", "f", "{}")], reason="length")
    jsonschema.validate(json.loads(read("hi").whole(Completion(answer), Record())), schema("Response"))
