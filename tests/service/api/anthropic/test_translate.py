import json
from typing import Any

import pytest

from service.api.anthropic.dialect import Messages, MessagesQuestion, read_messages
from service.api.anthropic.fields import CountFields
from service.api.limits import RequestLimits
from service.domain import ANYBODY
from service.errors import InvalidRequest, ModelNotFound, PatchbayError, TooManyImages

DATA = "iVBORw0KGgo="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
LINK = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
TEXT = {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}}
USE = {"type": "tool_use", "id": "t1", "name": "look", "input": {"x": "é"}}
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def result(content: Any = None, **members: Any) -> dict[str, Any]:
    told = {} if content is None else {"content": content}
    return {"type": "tool_result", "tool_use_id": "t1", **told, **members}


def read(*turns: Any, limits: RequestLimits | None = None, **fields: Any) -> MessagesQuestion:
    body = json.dumps({"messages": list(turns), "max_tokens": 5} | fields).encode()
    limits = limits or RequestLimits()
    return Messages().read(body, limits, models=("demo",), request_id="r", caller=ANYBODY)


def refused(*turns: Any, limits: RequestLimits | None = None, **fields: Any) -> PatchbayError:
    with pytest.raises(PatchbayError) as caught:
        read(*turns, limits=limits, **fields)
    return caught.value


def payload(*turns: Any, **fields: Any) -> Any:
    return read(*turns, **fields).request.payload


HI = {"role": "user", "content": "Hi"}


def test_a_text() -> None:
    asked = payload(HI, temperature=0, top_k=3, stop_sequences=["END"], metadata={"user_id": "u"})
    assert asked == {
        "model": "demo",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 5,
        "temperature": 0,
        "top_k": 3,
        "stop": ["END"],
    }


def test_a_stream_tells_the_length_of_the_prompt_at_once() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert payload(HI, stream=True)["stream_options"] == options


def test_the_system_prompt_is_one() -> None:
    billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=1f;"}
    blocks = [billing, {"type": "text", "text": "Be brief.", "cache_control": None}]
    reminder = {"role": "system", "content": "Now in French."}
    asked = payload(HI, reminder, HI, system=blocks)["messages"]
    assert asked[0] == {"role": "system", "content": "Be brief.\n\nNow in French."}
    assert payload(HI, system="Be kind.")["messages"][0]["content"] == "Be kind."


def test_turns_of_one_role_are_one_message() -> None:
    messages = payload(HI, user(TEXT), {"role": "assistant", "content": "A"}, HI)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert [part["text"] for part in messages[0]["content"]] == ["Hi", "What is this?"]


def test_a_user_who_says_nothing_is_heard_like_one_who_says_an_empty_text() -> None:
    for nothing in (user(), {"role": "user", "content": ""}, user({"type": "text", "text": ""})):
        assert payload(nothing)["messages"] == [{"role": "user", "content": ""}]


def test_images_as_base64_and_as_url() -> None:
    question = read(HI, user(IMAGE, TEXT, LINK))
    (message,) = question.request.payload["messages"]
    assert message["content"][1:] == [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    first, second = question.request.images
    assert (first.message, first.part, first.path) == (0, 1, "messages[1].content[0].source")
    assert (second.part, second.path) == (3, "messages[1].content[2].source")


def test_tools_and_their_results() -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    redacted = {"type": "redacted_thinking", "data": "x"}
    question = read(
        HI,
        assistant(thinking, redacted, {"type": "text", "text": "Let me see."}, USE, {**USE, "id": "t2"}),
        user(result([IMAGE, TEXT]), result("red", tool_use_id="t2", is_error=False), result(), TEXT),
        tools=[TOOL],
    )
    arguments = '{"x": "é"}'
    assert question.request.payload["messages"][1:] == [
        {
            "role": "assistant",
            "reasoning": "Hm.",
            "content": "Let me see.",
            "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}
                for id in ("t1", "t2")
            ],
        },
        {
            "role": "tool",
            "tool_call_id": "t1",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
                {"type": "text", "text": "What is this?"},
            ],
        },
        {"role": "tool", "tool_call_id": "t2", "content": "red"},
        {"role": "tool", "tool_call_id": "t1", "content": ""},
        {"role": "user", "content": "What is this?"},
    ]
    assert question.request.images[0].path == "messages[2].content[0].content[0].source"
    assert question.request.payload["tools"] == [
        {
            "type": "function",
            "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}},
        }
    ]


@pytest.mark.parametrize(
    "choice, expected",
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_which_tool_is_used(choice: Any, expected: Any) -> None:
    assert payload(HI, tools=[TOOL], tool_choice=choice)["tool_choice"] == expected


def test_one_tool_at_a_time() -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert payload(HI, tools=[{**TOOL, "type": "custom"}], tool_choice=choice)["parallel_tool_calls"] is False
    assert payload(HI, tools=[], tool_choice=choice).keys() == {"model", "messages", "max_tokens"}


def test_an_answer_that_the_client_began_goes_on() -> None:
    asked = payload(HI, {"role": "assistant", "content": "The answer is ("})
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in payload(HI, assistant(USE))
    assert "continue_final_message" not in payload(HI, assistant({"type": "text", "text": "a"}), HI)


def test_thinking_and_effort() -> None:
    enabled = {"type": "enabled", "budget_tokens": 2048}
    assert payload(HI, thinking=enabled)["chat_template_kwargs"] == {"enable_thinking": True}
    assert payload(HI, thinking={"type": "disabled"})["chat_template_kwargs"] == {"enable_thinking": False}
    adaptive = payload(HI, thinking={"type": "adaptive"}, output_config={"effort": "low"})
    assert "chat_template_kwargs" not in adaptive and adaptive["reasoning_effort"] == "low"


def test_structured_output() -> None:
    config = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert payload(HI, output_config=config)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}},
    }


@pytest.mark.parametrize(
    "turns, fields, param, words",
    [
        ([], {}, "messages", "should not be empty"),
        ([HI], {"max_tokens": None}, "max_tokens", "valid integer"),
        ([HI], {"max_tokens": 10**7}, "max_tokens", "too many"),
        ([HI], {"temperatur": 1}, "temperatur", "Did you mean temperature?"),
        ([HI], {"container": "c"}, "container", "no code is run here"),
        ([HI], {"thread": {"type": "create"}}, "thread", "tool_runner(thread=False)"),
        ([HI], {"compaction": {"type": "summarize"}}, "compaction", "not summarised here"),
        ([assistant()], {}, "messages", "nothing in it is for the model"),
        ([HI], {"stop": ["a"]}, "stop", "use stop_sequences"),
        ([HI], {"stop_sequences": ["a"] * 99}, "stop_sequences", "stop_sequences: 99 strings"),
        ([HI], {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]},
         "tools[0].type", 'received "web_search_20250305"'),
        ([HI], {"tools": [{**TOOL, "input_schema": {"type": 5}}], "tool_choice": {"type": "any"}},
         "tools[0].input_schema.type", "tools[0].input_schema.type"),
        ([HI], {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name", '"x"'),
        ([HI], {"output_config": {"format": {"type": "json_schema", "schema": {"type": 5}}}},
         "output_config.format.schema.type", "output_config.format.schema.type"),
        ([{"role": "robot", "content": ""}], {}, "messages[0].role", "'user'"),
        ([user({"type": "document", "source": {}})], {}, "messages[0].content[0].type", "pages as images"),
        ([user({"type": "image", "source": {"type": "file", "file_id": "f"}})], {},
         "messages[0].content[0].source.type", "files are not stored here"),
        ([user({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": DATA}})], {},
         "messages[0].content[0].source.media_type", "image/png"),
        ([assistant(IMAGE)], {}, "messages[0].content[0].type", "an assistant's blocks"),
        ([user(USE)], {}, "messages[0].content[0].type", "a user's blocks"),
        ([HI], {"system": [IMAGE]}, "system[0].type", "images in a user message"),
        ([HI, {"role": "system", "content": [IMAGE]}], {}, "messages[1].content[0].type", "a system prompt is text"),
        ([user(result([result()]))], {}, "messages[0].content[0].content[0].type", "only texts and images"),
    ],
)  # fmt: skip
def test_refusals_name_the_clients_own_field(turns: Any, fields: Any, param: str, words: str) -> None:
    error = refused(*turns, **fields)
    assert isinstance(error, InvalidRequest)
    assert error.param == param
    assert words in error.message and param in error.message


def test_a_length_is_required() -> None:
    with pytest.raises(InvalidRequest, match="max_tokens is required"):
        Messages().read(
            json.dumps({"messages": [HI]}).encode(), RequestLimits(), models=(), request_id="", caller=ANYBODY
        )


def test_limits_are_those_of_chat_in_the_clients_words() -> None:
    error = refused(user(IMAGE), user(IMAGE), limits=RequestLimits(max_images=1))
    assert isinstance(error, TooManyImages) and error.param == "messages[1].content[0].source"
    assert isinstance(refused(HI, model="claude"), ModelNotFound)


def test_the_body_of_a_request_can_be_counted_as_it_is() -> None:
    body = json.dumps({"messages": [HI], "max_tokens": 5, "stream": True, "temperature": 0, "tools": [TOOL]})
    request, _ = read_messages(
        body.encode(), RequestLimits(), CountFields, models=("demo",), request_id="", caller=ANYBODY
    )
    assert request.payload.keys() == {"model", "messages", "tools"}
