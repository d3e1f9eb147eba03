"""The blocks of an answer, and the events that tell of them."""

from __future__ import annotations

import json
from itertools import cycle
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from pydantic import TypeAdapter

from service.api.completion import Completion
from service.api.details import MEMBER
from service.domain import Record
from service.errors import EngineFailed
from tests.service.api.answers import answers, call, completion, cut_lengths, frames, streamed
from tests.service.api.anthropic.test_translate import HI, read

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def whole(body: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(read(HI).whole(Completion(body), None))
    return told


def stream(body: bytes, cuts: list[int]) -> list[dict[str, Any]]:
    writer = read(HI, stream=True).writer()
    written = b"".join(writer.write([event]) for event in streamed(body, cycle(cuts)))
    return frames(written + writer.end(None))


def grown(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks that a client puts together."""
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            match event["delta"]:
                case {"text": text}:
                    blocks[-1]["text"] += text
                case {"thinking": text}:
                    blocks[-1]["thinking"] += text
                case {"signature": text}:
                    blocks[-1]["signature"] = text
                case {"partial_json": text}:
                    blocks[-1]["json"] += text
    return blocks


def test_an_answer_in_one_piece() -> None:
    told = whole(
        completion("Red.", reasoning="Hm.", calls=[call("t1", "look", '{"x":1}')], reason="tool_calls")
    )
    assert told["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "unsigned"},
        {"type": "text", "text": "Red."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"x": 1}},
    ]
    assert (told["stop_reason"], told["stop_sequence"]) == ("tool_use", None)
    assert told["usage"] == {
        "input_tokens": 15,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 5,
        "output_tokens": 7,
    }
    assert (told["type"], told["role"], told["model"]) == ("message", "assistant", "demo")


@pytest.mark.parametrize(
    "answer, reason, sequence",
    [
        (completion("a"), "end_turn", None),
        (completion("a", stop="END"), "stop_sequence", "END"),
        (completion("a", stop=2), "end_turn", None),
        (completion("a", reason="tool_calls", stop="END"), "stop_sequence", "END"),
        (completion("a", reason="length", stop="END"), "max_tokens", None),
        (completion("a", reason="length"), "max_tokens", None),
        (completion("a", reason="content_filter"), "refusal", None),
        (completion(calls=[call("t", "f", "{}")]), "tool_use", None),
        (completion(calls=[call("t", "f", "{")], reason="length"), "max_tokens", None),
    ],
)
def test_why_an_answer_ended(answer: bytes, reason: str, sequence: str | None) -> None:
    told = whole(answer)
    assert (told["stop_reason"], told["stop_sequence"]) == (reason, sequence)
    events = stream(answer, [1])
    assert events[-2]["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "5", "[" * 100_000])
def test_the_input_of_a_tool_is_an_object_in_any_case(arguments: str) -> None:
    (block,) = whole(completion(calls=[call("t", "f", arguments)]))["content"]
    assert block["input"] == ({"arguments": arguments} if arguments else {})


def test_an_empty_answer_is_an_empty_text() -> None:
    assert whole(completion())["content"] == [{"type": "text", "text": ""}]


def test_the_events_of_a_text() -> None:
    events = stream(completion("Red."), [2])
    assert [event["type"] for event in events] == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_delta"),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    start = events[0]["message"]
    assert (start["content"], start["stop_reason"]) == ([], None)
    assert (start["usage"]["input_tokens"], start["usage"]["output_tokens"]) == (15, 0)
    assert events[-2]["usage"]["output_tokens"] == 7


@given(answers, cut_lengths)
def test_a_stream_tells_what_an_answer_in_one_piece_does(body: bytes, cuts: list[int]) -> None:
    events, told = stream(body, cuts), whole(body)
    blocks = grown(events)
    assert [block["type"] for block in blocks] == [block["type"] for block in told["content"]]
    for block, there in zip(blocks, told["content"], strict=True):
        match there["type"]:
            case "text":
                assert block["text"] == there["text"]
            case "thinking":
                assert (block["thinking"], block["signature"]) == (there["thinking"], there["signature"])
            case "tool_use":
                assert (block["id"], block["name"], block["input"]) == (there["id"], there["name"], {})
    calls = [block["json"] for block in blocks if block["type"] == "tool_use"]
    written = json.loads(body)["choices"][0]["message"]["tool_calls"]
    assert calls == [made["function"]["arguments"] for made in written]
    assert events[-2]["delta"] == {name: told[name] for name in ("stop_reason", "stop_sequence")}
    assert events[-2]["usage"] == told["usage"]


@given(answers, cut_lengths)
def test_anthropic_s_own_types_take_all_of_it(body: bytes, cuts: list[int]) -> None:
    Message.model_validate(whole(body))
    for event in stream(body, cuts):
        EVENT.validate_python(event)


def test_an_answer_that_breaks_off_ends_with_an_error() -> None:
    writer = read(HI, stream=True).writer()
    begun = writer.write(streamed(completion("Red."), cycle([2]))[:2])
    *_, last = frames(begun + writer.failed(EngineFailed("It died.")))
    assert last["type"] == "error"
    assert (last["error"]["type"], last["error"]["message"]) == ("api_error", "It died.")
    assert last["request_id"] == "r"


def test_what_a_request_cost_is_in_the_answer() -> None:
    record = Record()
    assert MEMBER.encode() in read(HI).whole(Completion(completion("a")), record)
    writer = read(HI, stream=True).writer()
    writer.write(streamed(completion("a"), cycle([1])))
    *_, last = frames(writer.end(record))
    assert last["type"] == "message_stop" and "stages_ms" in last[MEMBER]
