import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.outcome import REASONS, Outcome
from tests.service.api.fakes import event

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
COUNTED = {"prompt_tokens": 9, "completion_tokens": 3, "cached_tokens": 4}


def test_a_whole_answer() -> None:
    outcome = Outcome()
    choices = [{"finish_reason": "stop"}, {"finish_reason": "length"}]
    outcome.body(json.dumps({"choices": choices, "usage": USAGE}).encode())
    assert (outcome.usage, outcome.finish_reasons) == (COUNTED, ["stop", "length"])


def test_a_stream() -> None:
    outcome = Outcome()
    outcome.frame(event(choices=[{"delta": {"content": "a"}, "finish_reason": None}], usage=None))
    outcome.frame(event(choices=[{"delta": {}, "finish_reason": "tool_calls"}]))
    outcome.frame(event(choices=[], usage=USAGE))
    outcome.frame(b"data: [DONE]\n\n")
    assert (outcome.usage, outcome.finish_reasons) == (COUNTED, ["tool_calls"])


def test_words_of_an_answer_are_not_taken_for_its_end() -> None:
    outcome = Outcome()
    said = '"finish_reason":"stop" "usage"'
    outcome.frame(event(choices=[{"delta": {"content": said}, "finish_reason": None}]))
    assert (outcome.usage, outcome.finish_reasons) == ({}, [])


def test_a_reason_that_is_not_known_is_not_repeated() -> None:
    outcome = Outcome()
    outcome.body(b'{"choices":[{"finish_reason":"the secret word"}]}')
    assert outcome.finish_reasons == ["other"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "usage", "finish_reason", "prompt_tokens", "prompt_tokens_details"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.one_of(anything.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40)))
def test_nothing_but_numbers_and_known_words_comes_of_anything(body: bytes) -> None:
    outcome = Outcome()
    outcome.body(body)
    outcome.frame(b"data: " + body)
    assert set(outcome.finish_reasons) <= REASONS | {"other"}
    assert all(type(count) is int for count in outcome.usage.values())


@pytest.mark.parametrize("count", [True, "9", 1.5, None])
def test_only_whole_numbers_are_counts(count: object) -> None:
    outcome = Outcome()
    outcome.body(json.dumps({"usage": {"prompt_tokens": count}}).encode())
    assert outcome.usage == {}
