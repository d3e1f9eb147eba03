import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.completion import REASONS, Completion, Event, Outcome
from tests.service.api.fakes import HIGH, LOW, event

SIZES = [
    {"width": 40, "height": 30, "processed": [224, 224], "placement": [0, 0, 224, 224], "tokens": 16},
    {"width": 640, "height": 480, "processed": [672, 672], "placement": [0, 84, 672, 504], "tokens": 160},
]
COUNTED = {"image_tokens": 176, "image_detail": ["low", "high"], "images": SIZES}
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
OUTCOME = {"prompt_tokens": 9, "completion_tokens": 3, "cached_tokens": 4}


def with_images(passing: Completion, *images: object) -> bytes:
    passing.count_images(images)
    return passing.encode()


def outcome_of(*passing: Completion) -> Outcome:
    outcome = Outcome()
    for one in passing:
        one.tell(outcome)
    return outcome


def test_soft_tokens_and_detail_by_image() -> None:
    body = json.dumps({"choices": [], "usage": {"prompt_tokens": 9}}).encode()
    assert json.loads(with_images(Completion(body), LOW, HIGH)) == {
        "choices": [],
        "usage": {"prompt_tokens": 9, "prompt_tokens_details": COUNTED},
    }


def test_what_the_engine_counted_stays() -> None:
    frame = event(id="1", usage={"prompt_tokens_details": {"cached_tokens": 32}})
    changed = with_images(Event(frame), LOW, HIGH)
    assert changed == event(id="1", usage={"prompt_tokens_details": {"cached_tokens": 32} | COUNTED})
    nothing = event(usage={"prompt_tokens_details": None})
    assert with_images(Event(nothing), LOW, HIGH) == event(usage={"prompt_tokens_details": COUNTED})


def test_images_are_counted_once() -> None:
    details = {"cached_tokens": 32, "multimodal_tokens": {"image": 180}}
    frame = event(id="1", usage={"prompt_tokens_details": details})
    assert with_images(Event(frame), LOW, HIGH) == event(
        id="1", usage={"prompt_tokens_details": {"cached_tokens": 32} | COUNTED}
    )
    assert with_images(Event(frame)) is frame


def test_nothing_is_invented() -> None:
    counted = event(usage={"prompt_tokens": 9})
    assert with_images(Event(counted)) is counted
    for frame in (
        event(choices=[{"delta": {"content": "ü 日"}}]),
        event(usage=None),
        event(choices=[{"delta": {"content": '"usage"'}}]),
        b'data: [DONE] "usage"\n\n',
        b': a comment on "usage"\n\n',
    ):
        assert with_images(Event(frame), LOW) is frame
    for body in (b'{"usage":null}', b'["usage"]', b'"usage"', b'{"usage"'):
        assert with_images(Completion(body), LOW) is body


@given(st.text())
def test_words_survive(text: str) -> None:
    body = json.dumps({"text": text, "usage": {}}).encode()
    changed = with_images(Completion(body), LOW)
    assert json.loads(changed)["text"] == text
    assert json.dumps(text, ensure_ascii=False).encode() in changed


TEXT = {"choices": [{"delta": {"content": "a"}, "finish_reason": None}]}
WHOLE = Completion(json.dumps({"choices": [], "usage": USAGE}).encode())


@pytest.mark.parametrize(
    "passing, times", [(WHOLE, 1), (Event(event(usage=USAGE)), 1), (Event(event(**TEXT)), 0)]
)
def test_it_is_parsed_once_and_text_not_at_all(
    passing: Completion, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    load = json.loads
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(text) or load(text))
    outcome_of(passing)
    with_images(passing, LOW)
    assert len(parsed) == times


def test_the_outcome_of_a_whole_answer() -> None:
    choices = [{"finish_reason": "stop"}, {"finish_reason": "length"}]
    outcome = outcome_of(Completion(json.dumps({"choices": choices, "usage": USAGE}).encode()))
    assert (outcome.usage, outcome.finish_reasons) == (OUTCOME, ["stop", "length"])


def test_the_outcome_of_a_stream() -> None:
    outcome = outcome_of(
        Event(event(choices=[{"delta": {"content": "a"}, "finish_reason": None}], usage=None)),
        Event(event(choices=[{"delta": {}, "finish_reason": "tool_calls"}])),
        Event(event(choices=[], usage=USAGE)),
        Event(b"data: [DONE]\n\n"),
    )
    assert (outcome.usage, outcome.finish_reasons) == (OUTCOME, ["tool_calls"])


def test_words_of_an_answer_are_not_taken_for_its_end() -> None:
    said = '"finish_reason":"stop" "usage"'
    outcome = outcome_of(Event(event(choices=[{"delta": {"content": said}, "finish_reason": None}])))
    assert (outcome.usage, outcome.finish_reasons) == ({}, [])


def test_a_reason_that_is_not_known_is_not_repeated() -> None:
    outcome = outcome_of(Completion(b'{"choices":[{"finish_reason":"the secret word"}]}'))
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
    outcome = outcome_of(Completion(body), Event(b"data: " + body))
    assert set(outcome.finish_reasons) <= REASONS | {"other"}
    assert all(type(count) is int for count in outcome.usage.values())


@pytest.mark.parametrize("count", [True, "9", 1.5, None])
def test_only_whole_numbers_are_counts(count: object) -> None:
    outcome = outcome_of(Completion(json.dumps({"usage": {"prompt_tokens": count}}).encode()))
    assert outcome.usage == {}
