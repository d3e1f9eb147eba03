"""The engine's answers for tests of dialects: the same answer in one piece, and as events cut as one likes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, zip_longest
from typing import Any

from hypothesis import strategies as st

from service.api.completion import Event
from service.api.sse import DONE
from service.domain import ChatRequest
from tests.service.api.fakes import Reply, event

USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 5, "image_tokens": 16, "image_detail": ["low"]},
}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "demo"}


def call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def completion(
    content: str | None = None,
    *,
    reasoning: str | None = None,
    calls: Sequence[dict[str, Any]] = (),
    reason: str = "stop",
    stop: str | int | None = None,
    logprobs: Any = None,
) -> bytes:
    message = {"role": "assistant", "content": content, "reasoning": reasoning, "tool_calls": list(calls)}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": reason,
        "stop_reason": stop,
    }
    return json.dumps(HEAD | {"object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()


def chunk(
    delta: dict[str, Any], reason: str | None = None, stop: str | None = None, logprobs: Any = None
) -> bytes:
    choice = {
        "index": 0,
        "delta": delta,
        "logprobs": logprobs,
        "finish_reason": reason,
        "stop_reason": stop,
    }
    usage = {**USAGE, "completion_tokens": 1}
    return event(**HEAD, object="chat.completion.chunk", choices=[choice], usage=usage)


def streamed(body: bytes, cuts: Iterator[int]) -> list[Event]:
    """A completion as the engine streams it, its texts cut at `cuts`, and log probabilities with the texts or alone."""
    answer = json.loads(body)
    (choice,) = answer["choices"]
    message, frames = choice["message"], [chunk({"role": "assistant", "content": ""})]
    frames += [chunk({"reasoning": text}) for text in pieces(message["reasoning"] or "", cuts)]
    texts, tokens = (
        pieces(message["content"] or "", cuts),
        list((choice["logprobs"] or {}).get("content", ())),
    )
    before = next(cuts) if tokens else 0
    frames += [chunk({"content": ""}, logprobs={"content": [token]}) for token in tokens[:before]]
    for text, token in zip_longest(texts, tokens[before:]):
        frames.append(chunk({"content": text or ""}, logprobs=token and {"content": [token]}))
    for index, made in enumerate(message["tool_calls"]):
        function = {"name": made["function"]["name"], "arguments": ""}
        frames.append(chunk({"tool_calls": [{**made, "index": index, "function": function}]}))
        for text in pieces(made["function"]["arguments"], cuts):
            frames.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": text}}]}))
    frames.append(chunk({}, choice["finish_reason"], choice["stop_reason"]))
    frames.append(event(**HEAD, object="chat.completion.chunk", choices=[], usage=USAGE))
    return [Event(frame) for frame in frames]


def pieces(text: str, cuts: Iterator[int]) -> list[str]:
    cut = []
    while text:
        length = next(cuts)
        cut.append(text[:length])
        text = text[length:]
    return cut


class Answering:
    """A service that gives one answer, whole or as events, as it is asked."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> Reply:
        if not request.stream:
            return Reply(self._body)
        events = streamed(self._body, cycle([3]))
        return Reply(*[event.frame for event in events], DONE, content_type="text/event-stream")


def frames(written: bytes) -> list[dict[str, Any]]:
    """The events that were written, each named as its `type` says."""
    found = []
    for frame in written.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        payload = json.loads(data.removeprefix("data: "))
        assert name == f"event: {payload['type']}"
        found.append(payload)
    return found


objects = st.dictionaries(st.text(), st.text() | st.integers(), max_size=3).map(json.dumps)
answers = st.builds(
    completion,
    st.none() | st.text(),
    reasoning=st.none() | st.text(),
    calls=st.lists(
        st.builds(call, st.uuids().map(str), st.text(min_size=1), objects | st.text()), max_size=3
    ),
    reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    stop=st.none() | st.text(min_size=1) | st.integers(),
)
cut_lengths = st.lists(st.integers(min_value=1, max_value=4), min_size=1)
