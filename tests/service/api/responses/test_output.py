"""The items of an answer, and the events that tell of them."""

from __future__ import annotations

import json
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from service.api.completion import Completion
from service.api.details import MEMBER
from service.domain import Record
from service.errors import EngineFailed, QueueFull
from tests.service.api.answers import answers, call, completion, cut_lengths, frames, streamed
from tests.service.api.responses.test_translate import read

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def whole(body: bytes, **fields: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(read("hi", **fields).whole(Completion(body), None))
    return told


def stream(body: bytes, cuts: list[int]) -> list[dict[str, Any]]:
    writer = read("hi", stream=True).writer()
    written = b"".join(writer.write([event]) for event in streamed(body, cycle(cuts)))
    return frames(written + writer.end(None))


def alike(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what is new each time."""
    return [{name: value for name, value in item.items() if name != "id"} for item in items]


def test_an_answer_in_one_piece() -> None:
    body = completion("Red.", reasoning="Hm.", calls=[call("c1", "look", "{}")])
    told = whole(body, instructions="Be brief.", metadata={"a": "b"}, temperature=0)
    assert alike(told["output"]) == [
        {
            "type": "reasoning",
            "status": "completed",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
        },
        {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Red.", "annotations": [], "logprobs": []}],
        },
        {"type": "function_call", "status": "completed", "call_id": "c1", "name": "look", "arguments": "{}"},
    ]
    assert told["usage"] == {
        "input_tokens": 20,
        "input_tokens_details": {
            "cached_tokens": 5,
            "cache_write_tokens": 0,
            "image_tokens": 16,
            "image_detail": ["low"],
        },
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 27,
    }
    assert (told["status"], told["incomplete_details"], told["error"]) == ("completed", None, None)
    assert (told["instructions"], told["metadata"], told["temperature"]) == ("Be brief.", {"a": "b"}, 0)
    assert (told["store"], told["tools"], told["tool_choice"]) == (False, [], "auto")


@pytest.mark.parametrize("name", ["prompt_cache_key", "safety_identifier", "user"])
def test_what_nothing_else_bounds_is_returned_only_if_it_is_short(name: str) -> None:
    body = completion("Red.")
    short, long = "k" * 65_534, "k" * 65_535
    assert whole(body, **{name: short})[name] == short
    assert whole(body, **{name: long})[name] is None
    assert whole(body, metadata={name: long})["metadata"] == {}


def test_an_answer_that_was_too_long_is_incomplete() -> None:
    told = whole(completion("Red", reason="length"))
    assert (told["status"], told["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert told["output"][0]["status"] == "incomplete"
    *_, last = stream(completion("Red", reason="length"), [9])
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_empty_answer_is_an_empty_message() -> None:
    assert whole(completion())["output"][0]["content"][0]["text"] == ""


def test_log_probabilities_come_with_the_text() -> None:
    token = {"token": "Red", "logprob": -0.5, "bytes": [82], "top_logprobs": []}
    body = completion("Red", logprobs={"content": [token]})
    assert whole(body)["output"][0]["content"][0]["logprobs"] == [token]


def test_the_events_of_a_text() -> None:
    events = stream(completion("Red."), [2])
    assert [event["type"].removeprefix("response.") for event in events] == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event["delta"] for event in events if event["type"].endswith("delta")] == ["Re", "d."]


def test_the_events_of_a_call() -> None:
    events = stream(completion(calls=[call("c1", "look", '{"x":1}')], reason="tool_calls"), [4])
    assert [event["type"].removeprefix("response.") for event in events[2:-1]] == [
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done"),
    ]
    assert events[2]["item"]["arguments"] == "" and events[5]["arguments"] == '{"x":1}'


@given(answers, cut_lengths)
def test_a_stream_tells_what_an_answer_in_one_piece_does(body: bytes, cuts: list[int]) -> None:
    events = stream(body, cuts)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    last = events[-1]["response"]
    told = whole(body)
    assert alike(last["output"]) == alike(told["output"])
    assert (last["status"], last["usage"]) == (told["status"], told["usage"])
    # what is added piece by piece is what is there in the end
    for index, item in enumerate(last["output"]):
        mine = [event for event in events if event.get("output_index") == index]
        assert mine[0]["type"] == "response.output_item.added"
        assert mine[-1] == {**mine[-1], "type": "response.output_item.done", "item": item}
        deltas = "".join(event["delta"] for event in mine if event["type"].endswith(".delta"))
        assert deltas == (item["arguments"] if "arguments" in item else item["content"][0]["text"])


@given(answers, cut_lengths)
def test_openai_s_own_types_take_all_of_it(body: bytes, cuts: list[int]) -> None:
    Response.model_validate(whole(body))
    for event in stream(body, cuts):
        EVENT.validate_python(event)


def test_an_answer_that_breaks_off_ends_with_an_error() -> None:
    writer = read("hi", stream=True).writer()
    begun = writer.write(streamed(completion("Red."), cycle([2]))[:2])
    *_, last = frames(begun + writer.failed(EngineFailed("It died.")))
    assert last["type"] == "error" and last["sequence_number"] == 5
    assert (last["code"], last["message"], last["param"]) == ("engine_error", "It died.", None)
    assert last["error"]["type"] == "server_error"
    EVENT.validate_python(last)


def test_a_refusal_after_a_comment_is_the_only_event() -> None:
    (only,) = frames(read("hi", stream=True).writer().failed(QueueFull("full", retry_after=1)))
    assert (only["type"], only["code"], only["sequence_number"]) == ("error", "queue_full", 0)


def test_what_a_request_cost_is_in_the_response() -> None:
    record = Record()
    assert MEMBER.encode() in read("hi").whole(Completion(completion("a")), record)
    writer = read("hi", stream=True).writer()
    writer.write(streamed(completion("a"), cycle([1])))
    *_, last = frames(writer.end(record))
    assert "stages_ms" in last["response"][MEMBER]
