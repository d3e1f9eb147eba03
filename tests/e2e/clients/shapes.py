"""Requests of every shape that both Patchbay and vLLM's own server take, or refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.e2e.clients.asking import (
    BROKEN,
    FOLLOWING,
    MODEL,
    PAINTED,
    SCHEMA,
    SHORT,
    in_chat,
    in_messages,
    in_responses,
    user,
)


class Shape(NamedTuple):
    path: str
    body: Mapping[str, Any]


FUNCTION = {"name": "paint", "parameters": SCHEMA}
PAINT = {"type": "function", "function": {**FUNCTION, "strict": True}}
LOOSE = {"type": "function", "function": FUNCTION}
FLAT = {"type": "function", "strict": True, **FUNCTION}
CUSTOM = {"name": "paint", "input_schema": SCHEMA, "strict": True}
NAMED = {"type": "function", "function": {"name": "paint"}}
FORCED = {"tools": [PAINT], "tool_choice": NAMED, "max_tokens": SHORT}
ANSWERED = {"role": "assistant", "content": "red"}
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


CALL = {"id": "call-1", "type": "function", "function": {"name": "paint", "arguments": '{"colour": "red"}'}}
CALLED = [
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call-1", "content": PAINTED},
]
ITEMS = [
    {"type": "function_call", "call_id": "call-1", "name": "paint", "arguments": '{"colour": "red"}'},
    {"type": "function_call_output", "call_id": "call-1", "output": PAINTED},
]
USE = {"type": "tool_use", "id": "call-1", "name": "paint", "input": {"colour": "red"}}
RESULT = {"type": "tool_result", "tool_use_id": "call-1", "content": PAINTED}
USED = [{"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}]
FORCED_FLAT = {
    "tools": [FLAT],
    "tool_choice": {"type": "function", "name": "paint"},
    "max_output_tokens": SHORT,
}
FORCED_CUSTOM = {"tools": [CUSTOM], "tool_choice": {"type": "tool", "name": "paint"}, "max_tokens": SHORT}
TEXT = {"format": {"type": "json_schema", "name": "colour", "schema": SCHEMA, "strict": True}}
CONFIG = {"format": {"type": "json_schema", "schema": SCHEMA}}
UNBOUNDED = {"model": MODEL, "input": in_responses(), "temperature": 0}
BROKEN_SOURCE = in_messages("AAAA", "image/png")

SHAPES = {
    "chat: text": chat(messages=user("What do you see?")),
    "chat: image": chat(),
    "chat: stream": chat(**USAGE),
    "chat: turns": chat(messages=[*in_chat(), ANSWERED, *user(FOLLOWING)]),
    "chat: logprobs": chat(logprobs=True, top_logprobs=2),
    "chat: n": chat(n=2),
    "chat: stop": chat(stop=["red", "e"]),
    "chat: tool": chat(**FORCED),
    "chat: tool, stream": chat(**FORCED, **USAGE),
    "chat: tool, not strict": chat(**{**FORCED, "tools": [LOOSE]}),
    "chat: tool offered": chat(tools=[PAINT]),
    "chat: tool's result": chat(messages=[*in_chat(), *CALLED], tools=[PAINT]),
    "chat: schema": chat(response_format=FORMAT, max_tokens=64),
    "completions": completion(),
    "completions: stream": completion(**USAGE),
    "completions: logprobs": completion(logprobs=2),
    "completions: n": completion(n=2),
    "responses": responses(),
    "responses: stream": responses(stream=True),
    "responses: no length": Shape("/v1/responses", UNBOUNDED),
    "responses: no length, stream": Shape("/v1/responses", {**UNBOUNDED, "stream": True}),
    "responses: cut off": responses(max_output_tokens=1),
    "responses: cut off, stream": responses(max_output_tokens=1, stream=True),
    "responses: turns": responses(input=[*in_responses(), ANSWERED, *user(FOLLOWING)]),
    "responses: tool": responses(**FORCED_FLAT),
    "responses: tool, stream": responses(**FORCED_FLAT, stream=True),
    "responses: tool's result": responses(input=[*in_responses(), *ITEMS], tools=[FLAT]),
    "responses: schema": responses(text=TEXT, max_output_tokens=64),
    "input_tokens": Shape("/v1/responses/input_tokens", UNBOUNDED),
    "messages": messages(),
    "messages: stream": messages(stream=True),
    "messages: turns": messages(messages=[*in_messages(), ANSWERED, *user(FOLLOWING)]),
    "messages: tool": messages(**FORCED_CUSTOM),
    "messages: tool, stream": messages(**FORCED_CUSTOM, stream=True),
    "messages: tool cut off, stream": messages(**{**FORCED_CUSTOM, "max_tokens": 8}, stream=True),
    "messages: tool's result": messages(messages=[*in_messages(), *USED], tools=[CUSTOM]),
    "messages: schema": messages(output_config=CONFIG, max_tokens=64),
    "count_tokens": Shape("/v1/messages/count_tokens", {"model": MODEL, "messages": user("Hello.")}),
    "tokenize: text": Shape("/tokenize", {"model": MODEL, "prompt": "Hello.", "return_token_strs": True}),
    "tokenize: chat": Shape("/tokenize", {"model": MODEL, "messages": user("Hello.")}),
    "tokenize: image": Shape("/tokenize", {"model": MODEL, "messages": in_chat()}),
    "detokenize": Shape("/detokenize", {"model": MODEL, "tokens": [40, 41, 42]}),
    "error: model": chat(model="nobody"),
    "error: temperature": chat(temperature=3),
    "error: no messages": Shape("/v1/chat/completions", {"model": MODEL}),
    "error: image": chat(messages=in_chat(BROKEN)),
    "error: image in responses": responses(input=in_responses(BROKEN)),
    "error: image in messages": messages(messages=BROKEN_SOURCE),
    "error: context": chat(messages=user("What? " * 3000)),
    "error: tokens": Shape("/detokenize", {"model": MODEL}),
}
