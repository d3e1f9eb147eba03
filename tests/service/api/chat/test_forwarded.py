"""What the engine gets in other words than the client's."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from service.api.chat import messages
from service.api.chat.schema import parse_chat
from service.api.limits import RequestLimits
from service.api.wire import accepted_fields

USER = {"role": "user", "content": "hi"}


def sent(xgrammar: bool = True, **fields: Any) -> dict[str, Any]:
    limits = RequestLimits(context=4096, xgrammar=xgrammar)
    return cast(
        dict[str, Any], parse_chat(json.dumps({"messages": [USER]} | fields).encode(), limits).payload
    )


@pytest.mark.parametrize("temperature", [0, 0.0, 9e-6])
def test_several_answers_at_temperature_0_are_the_likeliest_one(temperature: float) -> None:
    payload = sent(n=3, temperature=temperature, top_p=0.5, top_k=7)
    assert {name: payload[name] for name in ("n", "temperature", "top_k", "top_p", "min_p")} == {
        "n": 3,
        "temperature": 1.0,
        "top_k": 1,
        "top_p": 1.0,
        "min_p": 0.0,
    }


@pytest.mark.parametrize(
    "fields", [{"n": 1, "temperature": 0}, {"temperature": 0}, {"n": 3, "temperature": 0.1}, {"n": 3}]
)
def test_other_draws_are_left_to_the_engine(fields: dict[str, Any]) -> None:
    assert sent(**fields) == {"messages": [USER], "model": ""} | fields


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("asked, bound", [(4095, 4095), (4096, 4096), (4097, 4096), (999_999, 4096)])
def test_a_bound_beyond_the_context_is_the_context(name: str, asked: int, bound: int) -> None:
    assert sent(**{name: asked})[name] == bound


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "hi"},
        {"role": "developer", "content": "hi"},
        {"role": "user", "content": []},
        {"role": "assistant"},
        {"role": "tool", "content": "hi", "tool_call_id": "1"},
    ],
    ids=lambda message: message["role"],
)
def test_no_member_of_a_message_is_null(message: dict[str, Any]) -> None:
    kind = {
        "system": messages.SystemMessage,
        "developer": messages.DeveloperMessage,
        "user": messages.UserMessage,
        "assistant": messages.AssistantMessage,
        "tool": messages.ToolMessage,
    }[message["role"]]
    nothing = dict.fromkeys(accepted_fields(kind) | kind.ignored | kind.refused.keys())
    assert sent(messages=[nothing | message])["messages"] == [message]


def test_a_continued_message_needs_no_second_field() -> None:
    assert sent(continue_final_message=True)["add_generation_prompt"] is False
    assert "add_generation_prompt" not in sent(continue_final_message=False)


def response_format(strict: bool | None) -> dict[str, Any]:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": strict}}


def test_a_schema_loses_what_the_engine_cannot_enforce_unless_it_enforces_otherwise() -> None:
    asked = response_format(None)
    assert sent(response_format=asked)["response_format"]["json_schema"]["schema"] == {
        "type": "array",
        "items": {"type": "integer"},
    }
    assert sent(response_format=asked, xgrammar=False)["response_format"] == asked
    assert sent(response_format=response_format(True), xgrammar=False)["response_format"] == response_format(
        True
    )


PAINT = {"name": "paint", "parameters": {"type": "object"}}
NAMED = {"type": "function", "function": {"name": "paint"}}


def sent_tool(function: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The tool's function as the engine gets it."""
    (tool,) = sent(tools=[{"type": "function", "function": function}], **fields)["tools"]
    assert tool["type"] == "function"
    return cast(dict[str, Any], tool["function"])


@pytest.mark.parametrize("choice", ["required", NAMED])
@pytest.mark.parametrize("function", [PAINT, {**PAINT, "strict": None}, {**PAINT, "strict": True}])
def test_a_forced_call_is_held_to_the_tools_parameters(choice: Any, function: dict[str, Any]) -> None:
    assert sent_tool(function, tool_choice=choice) == {**PAINT, "strict": True}


@pytest.mark.parametrize(
    "function, fields",
    [
        ({**PAINT, "strict": False}, {"tool_choice": "required"}),
        ({"name": "paint"}, {"tool_choice": NAMED}),
        (PAINT, {"tool_choice": "auto"}),
        (PAINT, {"tool_choice": "none"}),
        (PAINT, {}),
        (PAINT, {"tool_choice": "required", "xgrammar": False}),
    ],
)
def test_other_tools_are_left_as_they_are(function: dict[str, Any], fields: dict[str, Any]) -> None:
    assert sent_tool(function, **fields) == function
