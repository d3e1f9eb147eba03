"""Every field that the installed OpenAI SDK sends is accepted, listed as without effect, or refused with a reason."""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest
from openai.types import chat, shared_params
from openai.types.chat import completion_create_params
from pydantic import BaseModel

from service.api.chat import fields, messages
from service.api.chat.schema import parse_chat
from service.api.limits import RequestLimits
from service.api.sampling import fields as sampling
from service.api.wire import Wire, accepted_fields

IMAGE = chat.ChatCompletionContentPartImageParam
SENT: list[tuple[type, type[Wire]]] = [
    (completion_create_params.CompletionCreateParamsNonStreaming, fields.ChatFields),
    (completion_create_params.CompletionCreateParamsStreaming, fields.ChatFields),
    (chat.ChatCompletionStreamOptionsParam, sampling.StreamOptions),
    (chat.ChatCompletionSystemMessageParam, messages.SystemMessage),
    (chat.ChatCompletionDeveloperMessageParam, messages.DeveloperMessage),
    (chat.ChatCompletionUserMessageParam, messages.UserMessage),
    (chat.ChatCompletionAssistantMessageParam, messages.AssistantMessage),
    (chat.ChatCompletionToolMessageParam, messages.ToolMessage),
    (chat.ChatCompletionContentPartTextParam, messages.TextPart),
    (chat.ChatCompletionContentPartRefusalParam, messages.RefusalPart),
    (IMAGE, messages.ImagePart),
    (typing.get_type_hints(IMAGE)["image_url"], messages.ImageURL),
    (chat.ChatCompletionMessageFunctionToolCallParam, messages.ToolCall),
    (
        typing.get_type_hints(chat.ChatCompletionMessageFunctionToolCallParam)["function"],
        messages.CalledFunction,
    ),
    (chat.ChatCompletionFunctionToolParam, fields.Tool),
    (shared_params.FunctionDefinition, fields.Function),
    (chat.ChatCompletionNamedToolChoiceParam, fields.NamedTool),
    (shared_params.ResponseFormatText, sampling.TextFormat),
    (shared_params.ResponseFormatJSONObject, sampling.JsonObjectFormat),
    (shared_params.ResponseFormatJSONSchema, sampling.JsonSchemaFormat),
    (typing.get_type_hints(shared_params.ResponseFormatJSONSchema)["json_schema"], sampling.JsonSchema),
]
SENT_BACK: list[tuple[type[BaseModel], type[Wire]]] = [
    (chat.ChatCompletionMessage, messages.AssistantMessage),
    (chat.ParsedChatCompletionMessage, messages.AssistantMessage),
    (chat.ChatCompletionMessageFunctionToolCall, messages.ToolCall),
    (chat.ParsedFunctionToolCall, messages.ToolCall),
    (chat.ParsedFunction, messages.CalledFunction),
]


def known(kind: type[Wire]) -> set[str]:
    return {*accepted_fields(kind), *kind.ignored, *kind.refused}


@pytest.mark.parametrize("theirs, ours", SENT, ids=lambda kind: kind.__name__)
def test_what_the_sdk_can_send_is_known(theirs: type, ours: type[Wire]) -> None:
    assert typing.get_type_hints(theirs).keys() <= known(ours)


@pytest.mark.parametrize("theirs, ours", SENT_BACK, ids=lambda kind: kind.__name__)
def test_what_the_sdk_sends_back_is_known(theirs: type[BaseModel], ours: type[Wire]) -> None:
    assert theirs.model_fields.keys() <= known(ours)


def test_a_parsed_answer_can_be_sent_back() -> None:
    called = chat.ParsedFunction(name="f", arguments="{}", parsed_arguments={"a": 1})
    call = chat.ParsedFunctionToolCall(id="1", type="function", function=called)
    answer = chat.ParsedChatCompletionMessage(
        role="assistant", content="{}", parsed={"colour": "red"}, tool_calls=[call]
    )
    question = {"role": "user", "content": "?"}
    body = json.dumps({"messages": [question, answer.model_dump(), question]}).encode()
    forwarded = parse_chat(body, RequestLimits()).payload["messages"][1]
    assert "parsed" not in forwarded and "parsed_arguments" not in forwarded["tool_calls"][0]["function"]


def literals(hint: Any) -> set[str]:
    if typing.get_origin(hint) is typing.Literal:
        return set(typing.get_args(hint))
    return set[str]().union(*(literals(inner) for inner in typing.get_args(hint)))


def test_every_level_of_the_sdk_is_known() -> None:
    detail = literals(typing.get_type_hints(typing.get_type_hints(IMAGE)["image_url"])["detail"])
    assert detail and detail <= literals(messages.ImageURL.model_fields["detail"].annotation)
    effort = literals(
        typing.get_type_hints(completion_create_params.CompletionCreateParamsStreaming)["reasoning_effort"]
    )
    assert effort and effort <= literals(fields.ChatFields.model_fields["reasoning_effort"].annotation)


def test_the_sdk_s_fields_are_seen_at_all() -> None:
    assert "verbosity" in typing.get_type_hints(completion_create_params.CompletionCreateParamsStreaming)
