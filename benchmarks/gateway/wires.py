"""How each API asks a question of the stand-in's, how much of the answer has come, and whether all of it is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.translation import APIS, events_of

END = b"\n\n"


class Wire(NamedTuple):
    path: str
    asked: Callable[[str, int], dict[str, Any]]
    """Question and number of tokens → the fields of its own."""
    heard: Callable[[bytes], int]
    """The beginning of a streamed answer → how many of the engine's events are in it: a role, then tokens."""
    says: Callable[[bytes, str], bool]
    """A whole streamed answer, and what the engine said: whether it is that, and ends because of its length."""


def _turns(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def _chat_says(body: bytes, said: str) -> bool:
    *frames, done, rest = body.split(END)
    choices = [choice for frame in frames for choice in json.loads(frame.removeprefix(b"data: "))["choices"]]
    told = "".join(choice["delta"]["content"] for choice in choices)
    ends = [reason for choice in choices if (reason := choice.get("finish_reason"))]
    return (told, ends, done, rest) == (said, ["length"], b"data: [DONE]", b"")


def _tokens(event: bytes) -> Callable[[bytes], int]:
    """In an API whose events have names: the role brings no text."""
    return lambda body: 1 + body.count(b"event: " + event + b"\n")


def _text(api: str, events: list[dict[str, Any]]) -> str:
    return "".join(map(APIS[api].text, events))


def _responses_says(body: bytes, said: str) -> bool:
    events = list(events_of(body.decode().splitlines()))
    ending, response = events[-1]["type"], events[-1]["response"]
    why = response["incomplete_details"]["reason"]
    return (_text("Responses", events), ending, why) == (said, "response.incomplete", "max_output_tokens")


def _messages_says(body: bytes, said: str) -> bool:
    events = list(events_of(body.decode().splitlines()))
    *_, delta, last = events
    why = delta["delta"]["stop_reason"]
    return (_text("Messages", events[:-2]), why, last["type"]) == (said, "max_tokens", "message_stop")


WIRES = {
    "chat completions": Wire(
        "/v1/chat/completions",
        lambda question, tokens: {"messages": _turns(question), "max_tokens": tokens},
        lambda body: body.count(END),
        _chat_says,
    ),
    "Responses": Wire(
        "/v1/responses",
        lambda question, tokens: {"input": question, "max_output_tokens": tokens},
        _tokens(b"response.output_text.delta"),
        _responses_says,
    ),
    "Messages": Wire(
        "/v1/messages",
        lambda question, tokens: {"messages": _turns(question), "max_tokens": tokens},
        _tokens(b"content_block_delta"),
        _messages_says,
    ),
}
