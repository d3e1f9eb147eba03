"""Events are the same however their bytes are cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.checks import Reply
from loadtests.sse import EventReader
from loadtests.stream import take_error, take_event

STREAM = (
    b"\xef\xbb\xbf: keep-alive\n\ndata: one\n\nevent: token\r\nid: 7\r\ndata:two\r\ndata: three\r\n\r\n"
    b"data\n\n\n\ndata: caf\xc3\xa9\r\rretry: 9\n\ndata:  kept\n\ndata: cut off\n"
)
EVENTS = ["one", "two\nthree", "", "café", " kept"]


@given(st.lists(st.integers(0, len(STREAM))))
def test_the_same_events_for_every_way_of_cutting(places: list[int]) -> None:
    cuts = [0, *sorted(places), len(STREAM)]
    reader = EventReader()
    events = [event for a, b in zip(cuts, cuts[1:], strict=False) for event in reader.feed(STREAM[a:b])]
    assert events == EVENTS


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1), max_size=5
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_what_was_written_is_read(events: list[list[str]], end: str) -> None:
    text = "".join("".join(f"data: {line}{end}" for line in event) + end for event in events)
    reader = EventReader()
    found = [event for byte in text.encode() for event in reader.feed(bytes([byte]))]
    # a carriage return may still turn out to be half of a line's end
    found += reader.feed(b":\n")
    assert found == ["\n".join(event) for event in events]


def delta(**fields: object) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": fields}]})


def test_first_token_gaps_and_text_are_those_of_words() -> None:
    reply = Reply()
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
    end = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
    events = [
        delta(role="assistant", content=""),
        delta(content="dark "),
        delta(content="red"),
        end,
        usage,
        "[DONE]",
    ]
    carried = [take_event(reply, event, 10.0 * i) for i, event in enumerate(events)]
    assert carried == [False, True, True, False, False, False]
    assert (reply.text, reply.first, reply.last, reply.gaps) == ("dark red", 10.0, 20.0, [10.0])
    assert reply.finish == "stop" and reply.usage["completion_tokens"] == 2 and reply.done


def test_thoughts_are_words_but_no_answer() -> None:
    reply = Reply()
    assert take_event(reply, delta(reasoning_content="let me see"), 4.0)
    assert (reply.first, reply.text) == (4.0, "")


def test_an_error_in_the_stream_is_kept() -> None:
    reply = Reply()
    assert not take_event(reply, '{"error":{"message":"gone","code":"engine_error"}}', 1.0)
    assert reply.code == "engine_error"
    assert not take_event(reply, "{half", 2.0)
    assert "not JSON" in reply.failure


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"code":"queue_full"}}', "queue_full"),
        (b'{"error":{"type":"server_error","code":null}}', "server_error"),
        (b"<html>", "no OpenAI error object"),
        (b'["error"]', "no OpenAI error object"),
        (b'{"error":"no"}', "no OpenAI error object"),
    ],
)
def test_a_refusals_code_is_found_or_missed_in_words(body: bytes, code: str) -> None:
    reply = Reply()
    take_error(reply, body)
    assert reply.code == code
