"""Fields that need or exclude one another are refused by name, before any work."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.api.chat.schema import parse_chat
from service.api.limits import RequestLimits
from service.domain import ChatRequest
from service.errors import InvalidRequest

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def parse(**fields: Any) -> ChatRequest:
    return parse_chat(json.dumps({"messages": [USER]} | fields).encode(), RequestLimits())


@pytest.mark.parametrize(
    "fields, path, words",
    [
        ({"structured_outputs": {}}, "structured_outputs", "exactly one of json, regex, choice"),
        (
            {"structured_outputs": {"regex": "a", "choice": ["a"]}},
            "structured_outputs",
            "received regex and choice",
        ),
        (
            {"structured_outputs": {"regex": "a"}, "response_format": SCHEMA},
            "structured_outputs",
            "response_format",
        ),
        (
            {"structured_outputs": {"regex": "a"}, "tools": [TOOL], "tool_choice": "required"},
            "structured_outputs",
            "tool_choice makes the answer a tool call",
        ),
        *(
            ({"allowed_token_ids": [5], **form}, "allowed_token_ids", "send one of the two")
            for form in (
                {"structured_outputs": {"regex": "a"}},
                {"response_format": SCHEMA},
                {"response_format": {"type": "json_object"}},
                {"tools": [TOOL], "tool_choice": "required"},
            )
        ),
        ({"structured_outputs": {"json_object": False}}, "structured_outputs.json_object", "received false"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "empty"),
        (
            {"structured_outputs": {"regex": "a", "whitespace_pattern": ""}},
            "structured_outputs.whitespace_pattern",
            "--structured-outputs-config",
        ),
        (
            {"structured_outputs": {"json": {}, "disable_any_whitespace": False}},
            "structured_outputs.disable_any_whitespace",
            "--structured-outputs-config",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
            "is required",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice.function.name",
            'none of the tools is called "g"',
        ),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens", "max_tokens allows only 8"),
        (
            {"min_tokens": 9, "max_tokens": 20, "max_completion_tokens": 8},
            "min_tokens",
            "max_completion_tokens allows only 8",
        ),
        (
            {"continue_final_message": True, "add_generation_prompt": True},
            "continue_final_message",
            "only one of them can be true",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_refused_by_name(fields: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse(**fields)
    assert error.value.param == path and words in error.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {"structured_outputs": {"json_object": True}, "response_format": {"type": "text"}},
        {"structured_outputs": {"choice": ["a"]}, "tools": [TOOL], "tool_choice": "none"},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"min_tokens": 8, "max_tokens": 8},
    ],
)
def test_what_goes_together_passes(fields: dict[str, Any]) -> None:
    parse(**fields)
