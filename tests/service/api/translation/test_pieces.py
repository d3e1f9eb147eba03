import json
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.completion import Completion, Event
from service.api.translation.pieces import Arguments, Call, Piece, PieceReader, Reasoning, Text
from service.errors import EngineFailed
from tests.service.api.answers import USAGE, answers, call, chunk, completion, cut_lengths, streamed


def read(*answers: Completion) -> tuple[list[Piece], PieceReader]:
    reader = PieceReader()
    return [piece for answer in answers for piece in reader.read(answer)], reader


def joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbours of one kind as one."""
    whole: list[Piece] = []
    for piece in pieces:
        last = whole[-1] if whole else None
        if isinstance(last, Text) and isinstance(piece, Text):
            whole[-1] = Text(last.text + piece.text, (*last.logprobs, *piece.logprobs))
        elif last and not isinstance(piece, Call) and type(last) is type(piece):
            whole[-1] = type(piece)(last.text + piece.text)  # type: ignore[union-attr]
        else:
            whole.append(piece)
    return whole


def test_a_completion_in_the_order_in_which_it_was_thought() -> None:
    body = completion("Hello", reasoning="Hm", calls=[call("1", "f", "{}"), call("2", "g", "")])
    pieces, reader = read(Completion(body))
    assert pieces == [Reasoning("Hm"), Text("Hello"), Call("1", "f"), Arguments("{}"), Call("2", "g")]
    assert reader.ending.reason == "stop"
    assert (reader.ending.count("prompt_tokens"), reader.ending.cached) == (20, 5)
    assert reader.ending.usage == USAGE


def test_reasoning_has_an_older_name() -> None:
    assert read(Event(chunk({"reasoning_content": "Hm"})))[0] == [Reasoning("Hm")]


def test_what_is_said_within_a_call_follows_it() -> None:
    begun = {"index": 0, **call("1", "f", "{")}
    events = [
        Event(chunk({"tool_calls": [begun]})),
        Event(chunk({"content": "So."})),
        Event(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]})),
        Event(chunk({}, "tool_calls")),
    ]
    assert read(*events)[0] == [Call("1", "f"), Arguments("{"), Arguments("}"), Text("So.")]


def test_a_stop_sequence_is_a_text_and_a_stop_token_is_none() -> None:
    assert read(Completion(completion("a", stop="END")))[1].ending.stop == "END"
    assert read(Completion(completion("a", stop=2)))[1].ending.stop is None


@given(answers, cut_lengths)
def test_an_answer_is_the_same_however_it_is_cut(body: bytes, cuts: list[int]) -> None:
    whole, one = read(Completion(body))
    pieces, many = read(*streamed(body, cycle(cuts)))
    assert joined(pieces) == joined(whole)
    assert many.ending == one.ending


tokens = st.lists(st.fixed_dictionaries({"token": st.text()}), min_size=1)


@given(st.text(min_size=1), tokens, cut_lengths)
def test_no_log_probability_is_lost_however_the_text_is_cut(text: str, told: Any, cuts: list[int]) -> None:
    body = completion(text, logprobs={"content": told})
    pieces, _ = read(*streamed(body, cycle(cuts)))
    assert joined(pieces) == read(Completion(body))[0] == [Text(text, tuple(told))]


def test_what_was_told_of_thoughts_and_calls_is_not_told_of_texts() -> None:
    begun = {"index": 0, **call("1", "f", "{}")}
    alone = {"content": [{"token": "x"}]}
    events = [
        Event(chunk({"reasoning": "Hm"}, logprobs=alone)),
        Event(chunk({"content": "So."}, logprobs={"content": [{"token": "So."}]})),
        Event(chunk({"tool_calls": [begun]}, logprobs=alone)),
        Event(chunk({"content": ""}, "tool_calls", logprobs=alone)),
    ]
    said = [Reasoning("Hm"), Text("So.", ({"token": "So."},)), Call("1", "f"), Arguments("{}")]
    assert read(*events)[0] == said


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_that_was_broken_off_is_none(reason: str) -> None:
    with pytest.raises(EngineFailed, match="broke off"):
        read(Completion(completion("a", reason=reason)))


@pytest.mark.parametrize(
    "value",
    [None, [], 1, {}, {"choices": None}, {"choices": [1]}, {"choices": [{"delta": {"tool_calls": [1]}}]}],
)
def test_what_is_no_answer_is_a_failure_of_the_engine(value: Any) -> None:
    with pytest.raises(EngineFailed, match="unexpected form"):
        read(Completion(json.dumps(value).encode()))
