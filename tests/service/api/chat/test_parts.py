"""Bodies of many small objects are refused before their types are checked, in every dialect."""

import json
from typing import Any

import pytest

from service.api.anthropic.dialect import Messages
from service.api.chat.dialect import ChatCompletions
from service.api.chat.parts import count_parts
from service.api.dialect import Dialect
from service.api.limits import RequestLimits
from service.api.responses.dialect import Responses
from service.api.tokenize.schema import parse_tokenize
from service.domain import ANYBODY
from service.errors import InvalidRequest

LIMITS = RequestLimits(max_parts=4)
TEXT = {"type": "text", "text": "x"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USE = {"type": "tool_use", "id": "c", "name": "f", "input": {"x": [{}, {}, {}]}}
THOUGHT = {"type": "thinking", "thinking": "x"}
TOOL = {"type": "function", "function": {"name": "f"}}
INPUT = {"type": "input_text", "text": "x"}
REASONED = {"type": "reasoning_text", "text": "x"}
SUMMARY = {"type": "summary_text", "text": "x"}


def chat(*parts: Any, **message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}, {"role": "assistant", **message}]}


def blocks(role: str, *content: Any, **fields: Any) -> dict[str, Any]:
    turns = [{"role": role, "content": list(content)}, {"role": "user", "content": "x"}]
    return {"max_tokens": 1, "messages": turns} | fields


def result(*content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "c", "content": list(content)}


def items(**item: Any) -> dict[str, Any]:
    return {"input": [item]}


def output(*parts: Any) -> dict[str, Any]:
    return items(type="function_call_output", call_id="c", output=list(parts))


CASES: list[tuple[Dialect, str, Any]] = [
    (ChatCompletions(), "messages", lambda n: chat(*[TEXT] * n, content="x")),
    (ChatCompletions(), "messages", lambda n: chat(TEXT, TEXT, tool_calls=[CALL] * (n - 2))),
    (ChatCompletions(), "tools", lambda n: chat(TEXT, content="x") | {"tools": [TOOL] * n}),
    (Messages(), "messages", lambda n: blocks("assistant", *[THOUGHT] * n)),
    (Messages(), "messages", lambda n: blocks("assistant", *[USE] * n)),
    (Messages(), "messages", lambda n: blocks("user", result(*[TEXT] * (n - 1)))),
    (Messages(), "system", lambda n: blocks("user", TEXT, system=[TEXT] * n)),
    (Responses(), "input", lambda n: items(role="user", content=[INPUT] * n)),
    (Responses(), "input", lambda n: items(type="reasoning", content=[REASONED] * n)),
    (Responses(), "input", lambda n: items(type="reasoning", summary=[SUMMARY] * n)),
    (Responses(), "input", lambda n: output(*[INPUT] * n)),
]


@pytest.mark.parametrize(("dialect", "param", "body"), CASES)
def test_the_limit_is_exact(dialect: Dialect, param: str, body: Any) -> None:
    def read(parts: int) -> None:
        text = json.dumps(body(parts)).encode()
        dialect.read(text, LIMITS, models=["m"], request_id="", caller=ANYBODY)

    read(4)
    with pytest.raises(InvalidRequest, match="5 .* are too many; at most 4 are allowed") as refused:
        read(5)
    assert refused.value.param == param


def test_a_conversation_that_is_tokenized_has_the_same_limit() -> None:
    with pytest.raises(InvalidRequest, match="5 parts and calls of tools"):
        parse_tokenize(json.dumps(chat(*[TEXT] * 5)).encode(), LIMITS)


def test_it_is_told_before_types_are_checked() -> None:
    with pytest.raises(InvalidRequest, match="5 parts and calls of tools"):
        parse_tokenize(json.dumps(chat(*[{}] * 5)).encode(), LIMITS)


@pytest.mark.parametrize(
    "message", [None, 1, "x", [], [[]], {"content": {"content": [1]}}, {"content": "xxxxxx"}]
)
def test_what_has_no_parts(message: Any) -> None:
    assert count_parts(message) == 0


def test_what_is_within_a_part_is_not_counted_but_for_the_parts_of_a_result() -> None:
    assert count_parts({"content": [USE, result(TEXT, TEXT), "x", [TEXT]]}) == 6
