import json
from typing import Any

import pytest

from service.api.limits import RequestLimits
from service.api.responses.dialect import Responses, ResponsesQuestion
from service.domain import ANYBODY, Detail
from service.errors import InvalidRequest, ModelNotFound, PatchbayError, TooManyImages

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def read(value: Any, limits: RequestLimits | None = None, **fields: Any) -> ResponsesQuestion:
    """Of a request whose `input` is `value`."""
    body = json.dumps({"input": value} | fields).encode()
    limits = limits or RequestLimits()
    return Responses().read(body, limits, models=("demo",), request_id="r", caller=ANYBODY)


def refused(value: Any, limits: RequestLimits | None = None, **fields: Any) -> PatchbayError:
    with pytest.raises(PatchbayError) as caught:
        read(value, limits, **fields)
    return caught.value


def messages(value: Any, **fields: Any) -> Any:
    return read(value, **fields).request.payload["messages"]


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


TEXT = {"type": "input_text", "text": "What is this?"}
IMAGE = {"type": "input_image", "image_url": PIXEL, "detail": "low"}
SAID = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "phase": None,
    "content": [{"type": "output_text", "text": "A star.", "annotations": [], "logprobs": []}],
}
CALLED = {
    "type": "function_call",
    "id": "fc_1",
    "status": "completed",
    "call_id": "c1",
    "name": "look",
    "arguments": '{"x":1}',
}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm."}],
    "encrypted_content": None,
}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x":1}'}}


def test_a_text() -> None:
    request = read(
        "hello", temperature=0, max_output_tokens=5, seed=7, store=True, metadata={"a": "b"}
    ).request
    assert request.payload == {
        "model": "demo",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0,
        "seed": 7,
        "max_completion_tokens": 5,
    }
    assert not request.stream


def test_a_stream_tells_its_usage() -> None:
    request = read("hello", stream=True, stream_options={"include_obfuscation": False}).request
    assert request.stream and request.payload["stream_options"] == {"include_usage": True}


def test_instructions_and_what_the_developer_says_first_are_the_system_prompt() -> None:
    value = [
        {"role": "developer", "content": "In English."},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Now in French."},
    ]
    assert messages(value, instructions="Be brief.") == [
        {"role": "system", "content": "Be brief.\n\nIn English.\n\nBe kind."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Now in French."},
    ]


def test_images_by_data_url_and_url() -> None:
    link = {"type": "input_image", "image_url": "https://example.com/a.png", "file_id": None}
    question = read([user(IMAGE, TEXT, link)], instructions="Look.")
    assert question.request.payload["messages"][1]["content"] == [
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    first, second = question.request.images
    assert (first.message, first.part, first.detail) == (1, 0, Detail.LOW)
    assert first.path == "input[0].content[0].image_url"
    assert (second.part, second.detail, second.path) == (2, Detail.AUTO, "input[0].content[2].image_url")


def test_a_conversation_with_calls_and_an_image_as_a_result() -> None:
    output = {"type": "function_call_output", "call_id": "c1", "output": [IMAGE, TEXT]}
    question = read([user(TEXT), THOUGHT, SAID, CALLED, {**CALLED, "call_id": "c2"}, output, SAID])
    assert question.request.payload["messages"] == [
        {"role": "user", "content": "What is this?"},
        {
            "role": "assistant",
            "reasoning": "Hm.",
            "content": "A star.",
            "tool_calls": [CALL, {**CALL, "id": "c2"}],
        },
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                {"type": "text", "text": "What is this?"},
            ],
        },
        {"role": "assistant", "content": "A star."},
    ]
    assert question.request.images[0].path == "input[5].output[0].image_url"


def test_two_answers_in_a_row_stay_two() -> None:
    assert [m["role"] for m in messages([user(TEXT), SAID, SAID])] == ["user", "assistant", "assistant"]
    assert len(messages([user(TEXT), CALLED, SAID])) == 3


def test_what_was_thought_elsewhere_is_left_out() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    assert messages([user(TEXT), item, SAID])[1] == {"role": "assistant", "content": "A star."}
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "In short."}]}
    assert messages([user(TEXT), summary, SAID])[1]["reasoning"] == "In short."


def test_a_refusal_goes_back_as_one() -> None:
    item = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert messages([user(TEXT), item])[1]["content"] == [{"type": "refusal", "refusal": "No."}]


TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": None}


def test_tools() -> None:
    payload = read("hi", tools=[TOOL], tool_choice="auto", parallel_tool_calls=False).request.payload
    assert payload["tools"] == [
        {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    ]
    assert (payload["tool_choice"], payload["parallel_tool_calls"]) == ("auto", False)
    named = read("hi", tools=[TOOL], tool_choice={"type": "function", "name": "look"}).request.payload
    assert named["tool_choice"] == {"type": "function", "function": {"name": "look"}}


def test_no_tools_and_no_choice_are_what_clients_send_by_default() -> None:
    payload = read("hi", tools=[], tool_choice="auto", include=[], truncation="disabled").request.payload
    assert payload.keys() == {"model", "messages"}


def test_structured_text() -> None:
    asked = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}
    assert read("hi", text={"format": asked, "verbosity": "low"}).request.payload["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True},
    }
    assert read("hi", text={"format": {"type": "json_object"}}).request.payload["response_format"] == {
        "type": "json_object"
    }
    assert "response_format" not in read("hi", text={"format": {"type": "text"}}).request.payload


def test_effort_and_log_probabilities() -> None:
    payload = read("hi", reasoning={"effort": "low", "summary": "auto"}, top_logprobs=2).request.payload
    assert (payload["reasoning_effort"], payload["logprobs"], payload["top_logprobs"]) == ("low", True, 2)
    included = read("hi", include=["message.output_text.logprobs", "reasoning.encrypted_content"])
    assert included.request.payload["logprobs"] is True


@pytest.mark.parametrize(
    "value, fields, param, words",
    [
        ("hi", {"previous_response_id": "resp_1"}, "previous_response_id", "nothing is stored here"),
        ("hi", {"conversation": "conv_1"}, "conversation", "nothing is stored here"),
        ("hi", {"background": True}, "background", "use stream"),
        ("hi", {"truncation": "auto"}, "truncation", "shorter input"),
        ("hi", {"prompt": {"id": "p"}}, "prompt", "no prompts are stored"),
        ("hi", {"messages": []}, "messages", "use input"),
        ("hi", {"temperatur": 1}, "temperatur", "Did you mean temperature?"),
        ("hi", {"tools": [{"type": "web_search"}]}, "tools[0].type", 'only those of type \'function\'; received "web'),
        ("hi", {"tools": [{"type": "mcp", "server_url": "x"}]}, "tools[0].type", 'received "mcp"'),
        ("hi", {"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type", "send only those"),
        ("hi", {"tools": [TOOL], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name", '"x"'),
        ("hi", {"tools": [{**TOOL, "parameters": {"type": 5}}], "tool_choice": "required"},
         "tools[0].parameters.type", "tools[0].parameters.type"),
        ("hi", {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": 5}}}},
         "text.format.schema.type", "text.format.schema.type"),
        ("hi", {"max_output_tokens": 10**7}, "max_output_tokens", "max_output_tokens: 10000000 tokens"),
        ("hi", {"temperature": 3}, "temperature", "less than or equal to 2"),
        ([], {}, "input", "should not be empty"),
        (5, {}, "input", "a string or an array"),
        ([{"type": "reasoning", "encrypted_content": "x"}], {}, "input", "nothing in it is for the model"),
        ("hi", {"include": ["message.output_text.logprob"]}, "include[0]", "'message.output_text.logprobs'"),
        ([{"type": "item_reference", "id": "x"}], {}, "input[0].type", "nothing is stored here"),
        ([{"type": "web_search_call"}], {}, "input[0].type", 'received "web_search_call"'),
        ([{"role": "robot", "content": ""}], {}, "input[0].role", "'user'"),
        ([user({"type": "input_file", "file_id": "f"})], {}, "input[0].content[0].type", "files are not accepted"),
        ([user({"type": "input_image", "file_id": "f"})], {}, "input[0].content[0].file_id", "files are not"),
        ([user({"type": "input_image"})], {}, "input[0].content[0].image_url", "is required"),
        ([{"role": "system", "content": [IMAGE]}], {}, "input[0].content[0].type", "images in a user message"),
        ([{"role": "assistant", "content": [IMAGE]}], {}, "input[0].content[0].type", "'output_text'"),
        ([user(TEXT), {**CALLED, "arguments": "[" * 99 + "]" * 99}], {}, "input[1].arguments", "deeper"),
    ],
)  # fmt: skip
def test_refusals_name_the_clients_own_field(
    value: Any, fields: dict[str, Any], param: str, words: str
) -> None:
    error = refused(value, **fields)
    assert isinstance(error, InvalidRequest)
    assert error.param == param
    assert words in error.message and param in error.message


def test_a_null_is_absence() -> None:
    nulls = dict.fromkeys(("previous_response_id", "conversation", "prompt", "tools", "text", "reasoning"))
    assert read("hi", **nulls, background=False).request.payload.keys() == {"model", "messages"}


def test_limits_are_those_of_chat_in_the_clients_words() -> None:
    error = refused([user(IMAGE, IMAGE)], RequestLimits(max_images=1))
    assert isinstance(error, TooManyImages) and error.param == "input[0].content[1].image_url"
    error = refused([SAID, SAID], RequestLimits(max_messages=1))
    assert (error.param, error.message[:6]) == ("input", "input:")
    assert isinstance(refused("hi", model="other"), ModelNotFound)


def test_an_error_of_the_engine_is_about_the_clients_field() -> None:
    question = read([user(TEXT)])
    assert question.own(InvalidRequest("No.", param="messages")).param == "input"
