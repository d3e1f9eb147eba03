"""Tool-call arguments are held to the limits of the body that they lie in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.api.chat.schema import parse_chat
from service.api.limits import RequestLimits
from service.domain import ChatRequest
from service.errors import InvalidRequest

LIMITS = RequestLimits(max_json_depth=12, max_json_values=100)
PATH = "messages[1].tool_calls[0].function.arguments"


def parse(*arguments: str) -> ChatRequest:
    calls = [
        {"id": str(index), "type": "function", "function": {"name": "f", "arguments": text}}
        for index, text in enumerate(arguments)
    ]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": calls},
    ]
    return parse_chat(json.dumps({"messages": messages}).encode(), LIMITS)


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    "arguments", ["", "{}", nested(12), "[1, 2]", "no JSON", "[" * 50, '{"a": "[[[[[[[[[[[[[[[[[["}']
)
def test_ordinary_and_broken_arguments_pass(arguments: str) -> None:
    call = parse(arguments).payload["messages"][1]["tool_calls"][0]
    assert call["function"]["arguments"] == arguments


@pytest.mark.parametrize("arguments", [nested(13), "[" * 13 + "]" * 13, '{"a": [' * 7 + "]}" * 7])
def test_arguments_that_are_nested_too_deeply(arguments: str) -> None:
    with pytest.raises(InvalidRequest, match="nested deeper than 12 levels") as refused:
        parse(arguments)
    assert refused.value.param == PATH


def test_arguments_too_deep_to_be_parsed() -> None:
    limits = RequestLimits()
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[" * 200_000}}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call]}]
    with pytest.raises(InvalidRequest, match="nested deeper than 64 levels") as refused:
        parse_chat(json.dumps({"messages": messages}).encode(), limits)
    assert refused.value.param == PATH


def test_values_are_counted_over_all_calls_however_they_are_written() -> None:
    body = json.dumps(
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": text}}
                        for text in ("[" + "1," * 60 + "1]", "[" + "1," * 60 + "1]")
                    ],
                },
            ]
        }
    )
    escaped = body.replace("1,1", "1\\u002c1").replace("1,1", "1\\u002c1")
    with pytest.raises(InvalidRequest, match="122 commas and opening brackets") as refused:
        parse_chat(escaped.encode(), LIMITS)
    assert refused.value.param == PATH.replace("calls[0]", "calls[1]")


def test_an_integer_that_no_parser_would_read() -> None:
    with pytest.raises(InvalidRequest, match="too many digits") as refused:
        parse("[" + "1" * 5000 + "]")
    assert refused.value.param == PATH
