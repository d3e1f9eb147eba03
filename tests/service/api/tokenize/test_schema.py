"""The bodies of the tokenizer's routes: as strict as a chat request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.api.chat.fields import ChatFields
from service.api.limits import RequestLimits
from service.api.tokenize.fields import PromptFields, TokensFields
from service.api.tokenize.schema import parse_detokenize, parse_tokenize
from service.api.wire import accepted_fields
from service.domain import Caller, ChatRequest, Route
from service.errors import InvalidRequest, ModelNotFound

USER = {"role": "user", "content": "hi"}
LIMITS = RequestLimits(max_messages=3, max_images=1)


def parse(**fields: Any) -> ChatRequest:
    return parse_tokenize(json.dumps(fields).encode(), LIMITS, models=("demo", "lora"), request_id="r")


def detokenize(**fields: Any) -> ChatRequest:
    return parse_detokenize(json.dumps(fields).encode(), LIMITS, models=("demo",))


def test_a_text_is_passed_on_as_it_is() -> None:
    request = parse(prompt="<s>", add_special_tokens=False, return_token_strs=None, tools=[])
    assert request.payload == {"prompt": "<s>", "add_special_tokens": False, "model": "demo"}
    assert (request.route, request.stream, request.images, request.request_id) == (
        Route.TOKENIZE,
        False,
        (),
        "r",
    )


def test_a_conversation_is_a_chat_request_that_is_not_answered() -> None:
    image = {"type": "image_url", "image_url": {"url": "http://x/a.png"}}
    request = parse(
        messages=[USER, {"role": "user", "content": [image]}],
        return_token_strs=True,
        stream=True,
        model="lora",
    )
    assert request.payload["return_token_strs"] is True
    assert (request.route, request.stream, len(request.images), request.model) == (
        Route.TOKENIZE,
        False,
        1,
        "lora",
    )


def test_a_null_is_absence() -> None:
    in_a_prompt = dict.fromkeys({"messages", *PromptFields.model_fields, *PromptFields.refused})
    assert parse(**in_a_prompt | {"prompt": "a"}).payload == {"prompt": "a", "model": "demo"}
    in_a_chat = dict.fromkeys({"prompt", "return_token_strs", *ChatFields.model_fields, *ChatFields.refused})
    asked = parse(**in_a_chat | {"messages": [USER]}).payload
    assert asked == {"messages": [USER], "model": "demo", "return_token_strs": False}


def test_tokens_are_whole_numbers() -> None:
    request = detokenize(tokens=[1, 2.0, 3])
    assert request.payload == {"tokens": [1, 2, 3], "model": "demo"}
    assert request.route is Route.DETOKENIZE


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({}, "prompt", "required"),
        ({"prompt": ["a"]}, "prompt", "string; received an array of 1"),
        ({"prompt": "a", "chat_template_kwargs": {"a": 1}}, "chat_template_kwargs", "belongs to messages"),
        ({"prompt": "a", "mm_processor_kwargs": {"a": 1}}, "mm_processor_kwargs", "no images"),
        ({"prompt": "a", "promt": "b"}, "promt", "Did you mean prompt"),
        ({"messages": [USER], "prompt": "a"}, "prompt", "send one of the two"),
        ({"messages": None, "prompt": None}, "prompt", "required"),
        ({"messages": [USER], "return_token_strs": "yes"}, "return_token_strs", 'boolean; received "yes"'),
        ({"messages": [USER] * 4}, "messages", "4 messages are too many"),
        ({"messages": [USER], "add_special_tokens": True}, "add_special_tokens", "template"),
        ({"messages": [USER], "temperature": 3}, "temperature", "less than or equal to 2"),
    ],
)
def test_what_is_refused_by_name(fields: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        parse(**fields)
    assert refused.value.param == path


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "tokens"),
        ({"tokens": "1"}, "tokens"),
        ({"tokens": [1, -1]}, "tokens[1]"),
        ({"tokens": [True]}, "tokens[0]"),
    ],
)
def test_tokens_that_are_none(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        detokenize(**fields)
    assert refused.value.param == path


def test_a_model_that_the_key_may_not_use() -> None:
    caller = Caller(name="a", models=frozenset({"lora"}))
    body = json.dumps({"prompt": "a", "model": "demo"}).encode()
    with pytest.raises(ModelNotFound, match="for this API key"):
        parse_tokenize(body, LIMITS, models=("demo", "lora"), caller=caller)


def test_every_field_of_the_engine_s_is_known() -> None:
    """The fields of vLLM 0.32's three request models."""
    prompt = {"model", "prompt", "add_special_tokens", "return_token_strs"}
    chat = {"add_generation_prompt", "continue_final_message", "chat_template", "chat_template_kwargs"} | {
        "media_io_kwargs",
        "mm_processor_kwargs",
        "tools",
    }
    assert prompt == accepted_fields(PromptFields)
    assert chat == PromptFields.refused.keys()
    assert accepted_fields(TokensFields) == {"model", "tokens"}
