"""Requests of every shape that both Patchbay and vLLM's own server take, or refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.e2e.clients.asking import (
    BROKEN,
    MODEL,
    NO_BLANKS,
    SCHEMA,
    in_chat,
    in_messages,
    in_responses,
    user,
)


class Shape(NamedTuple):
    path: str
    body: Mapping[str, Any]


PAINT = {"type": "function", "function": {"name": "paint", "parameters": SCHEMA, "strict": True}}
FORCED = {"tools": [PAINT], "tool_choice": {"type": "function", "function": {"name": "paint"}}}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA, "strict": True}}


def chat(**fields: Any) -> Shape:
    asked = {"model": MODEL, "messages": in_chat(), "temperature": 0, "max_tokens": 16, **fields}
    return Shape("/v1/chat/completions", asked)


def completion(**fields: Any) -> Shape:
    asked = {"model": MODEL, "prompt": "What colour is", "temperature": 0, "max_tokens": 8, **fields}
    return Shape("/v1/completions", asked)


def responses(**fields: Any) -> Shape:
    asked = {"model": MODEL, "input": in_responses(), "temperature": 0, "max_output_tokens": 16, **fields}
    return Shape("/v1/responses", asked)


def messages(**fields: Any) -> Shape:
    asked = {"model": MODEL, "messages": in_messages(), "temperature": 0, "max_tokens": 16, **fields}
    return Shape("/v1/messages", asked)


SHAPES = {
    "chat: text": chat(messages=user("What do you see?")),
    "chat: image": chat(),
    "chat: stream": chat(**USAGE),
    "chat: logprobs": chat(logprobs=True, top_logprobs=2),
    "chat: n": chat(n=2),
    "chat: stop": chat(stop=["red", "e"]),
    "chat: tool": chat(**FORCED, logit_bias=NO_BLANKS, max_tokens=128),
    "chat: tool, stream": chat(**FORCED, logit_bias=NO_BLANKS, max_tokens=128, **USAGE),
    "chat: tool offered": chat(tools=[PAINT]),
    "chat: schema": chat(response_format=FORMAT, max_tokens=64),
    "completions": completion(),
    "completions: stream": completion(**USAGE),
    "completions: logprobs": completion(logprobs=2),
    "completions: n": completion(n=2),
    "responses": responses(),
    "responses: stream": responses(stream=True),
    "messages": messages(),
    "messages: stream": messages(stream=True),
    "count_tokens": Shape("/v1/messages/count_tokens", {"model": MODEL, "messages": user("Hello.")}),
    "tokenize: text": Shape("/tokenize", {"model": MODEL, "prompt": "Hello.", "return_token_strs": True}),
    "tokenize: chat": Shape("/tokenize", {"model": MODEL, "messages": user("Hello.")}),
    "tokenize: image": Shape("/tokenize", {"model": MODEL, "messages": in_chat()}),
    "detokenize": Shape("/detokenize", {"model": MODEL, "tokens": [40, 41, 42]}),
    "error: model": chat(model="nobody"),
    "error: temperature": chat(temperature=3),
    "error: no messages": Shape("/v1/chat/completions", {"model": MODEL}),
    "error: image": chat(messages=in_chat(BROKEN)),
    "error: context": chat(messages=user("What? " * 3000)),
    "error: tokens": Shape("/detokenize", {"model": MODEL}),
}
