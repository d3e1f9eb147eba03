"""Completions: the same strictness as chat requests, and the prompt in its four forms."""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest
from openai.types import completion_create_params

from service.api.completions.fields import CompletionFields
from service.api.completions.schema import parse_completion
from service.api.limits import RequestLimits
from service.api.wire import accepted_fields
from service.domain import Caller, ChatRequest, Route
from service.errors import InvalidRequest, ModelNotFound

LIMITS = RequestLimits(max_choices=4, max_top_logprobs=5, context=100, max_stop=2)


def parse(limits: RequestLimits = LIMITS, **fields: Any) -> ChatRequest:
    body = json.dumps({"prompt": "Once"} | fields).encode()
    return parse_completion(body, limits, models=("demo", "lora"), request_id="r")


@pytest.mark.parametrize("prompt", ["Once", ["Once", "Twice"], [1, 2, 3], [[1, 2], [3]]])
def test_a_prompt_in_every_form(prompt: Any) -> None:
    request = parse(prompt=prompt, temperature=0.5, stream=True, stream_options={"include_usage": True})
    assert request.payload["prompt"] == prompt
    assert (request.route, request.model, request.images) == (Route.COMPLETION, "demo", ())
    assert request.stream and request.include_usage


def test_what_asks_for_nothing_is_taken_out() -> None:
    request = parse(echo=False, suffix="", best_of=1, user="me", metadata={"a": "b"}, tools=[], n=None)
    assert request.payload == {"prompt": "Once", "model": "demo"}


def test_several_greedy_answers_and_a_bound_beyond_the_context() -> None:
    request = parse(n=2, temperature=0, max_tokens=1000, seed=3.0)
    assert (request.payload["top_k"], request.payload["max_tokens"], request.payload["seed"]) == (1, 100, 3)


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"prompt": None}, "prompt", "string, an array of strings"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": []}, "prompt", "empty"),
        ({"prompt": ["a", ""]}, "prompt[1]", "empty"),
        ({"prompt": [1, "a"]}, "prompt[1]", "integer"),
        ({"prompt": [[1], []]}, "prompt[1]", "empty"),
        ({"prompt": [1, -1]}, "prompt[1]", "greater"),
        ({"prompt": {"a": 1}}, "prompt", "received an object"),
        ({"echo": True}, "echo", "only what the model writes is returned"),
        ({"suffix": "end"}, "suffix", "cannot write towards"),
        ({"best_of": 2}, "best_of", "use n"),
        ({"messages": [{"role": "user"}]}, "messages", "/v1/chat/completions"),
        ({"max_completion_tokens": 4}, "max_completion_tokens", "use max_tokens"),
        ({"prompt_logprobs": 1}, "prompt_logprobs", "memory"),
        ({"cache_salt": "x"}, "cache_salt", "API key"),
        ({"modalities": ["audio"]}, "modalities", "not accepted"),
        ({"logprobs": 6}, "logprobs", "at most 5"),
        ({"logprobs": True}, "logprobs", "integer"),
        ({"n": 5}, "n", "at most 4"),
        ({"prompt": ["a"] * 3, "n": 2}, "prompt", "3 prompts with n = 2 ask for 6 answers; at most 4"),
        ({"stop": ["a", "b", "c"]}, "stop", "at most 2"),
        ({"min_tokens": 17}, "min_tokens", "max_tokens allows only 16"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "requires stream"),
        ({"structured_outputs": {"regex": "(((((("}}, "structured_outputs.regex", "structured_outputs.regex"),
        ({"structured_outputs": {}}, "structured_outputs", "exactly one"),
        (
            {"structured_outputs": {"choice": ["a"]}, "allowed_token_ids": [5]},
            "allowed_token_ids",
            "one of the two",
        ),
    ],
)
def test_what_is_refused_by_name(fields: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        parse(**fields)
    assert refused.value.param == path


def test_a_schema_is_held_to_the_same_budget_as_in_a_chat_request() -> None:
    schema = {"type": "string", "pattern": "(" * 40_000 + ")" * 40_000}
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(InvalidRequest) as refused:
        parse(response_format=asked)
    assert refused.value.param == "response_format.json_schema.schema.pattern"


def test_the_model_that_is_asked() -> None:
    assert parse(model="lora").model == "lora"
    with pytest.raises(ModelNotFound):
        parse(model="gpt-9")
    body = json.dumps({"prompt": "a", "model": "demo"}).encode()
    with pytest.raises(ModelNotFound):
        parse_completion(body, LIMITS, models=("demo",), caller=Caller(models=frozenset({"lora"})))


@pytest.mark.parametrize(
    "kind",
    [
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ],
)
def test_every_field_of_the_sdk_is_known(kind: type) -> None:
    known = accepted_fields(CompletionFields) | CompletionFields.refused.keys() | CompletionFields.ignored
    assert typing.get_type_hints(kind).keys() <= known
