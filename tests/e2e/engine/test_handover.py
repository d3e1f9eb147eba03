"""Handles on a real engine: who is answered, who fails, and that each fails alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.e2e.engine.running import answer, cached_tokens, same

pytestmark = pytest.mark.e2e

WIDTH = 192


def rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, WIDTH), np.float32)


def test_an_image_is_answered_from_its_rows(engine: Any) -> None:
    first, second = engine.put(rows(32, 1)), engine.put(rows(32, 2))
    one = answer(engine.ask(engine.part(first.key, 32), cache_salt="a"))
    again = answer(engine.ask(engine.part(first.key, 32), cache_salt="b"))
    other = answer(engine.ask(engine.part(second.key, 32)))
    assert same(one, again)
    assert not same(one, other)


def test_images_in_one_request_keep_their_order(engine: Any) -> None:
    small, large = engine.put(rows(16, 3)), engine.put(rows(96, 4))
    parts = [engine.part(small.key, 16), engine.part(large.key, 96)]
    reply = engine.ask(*parts)
    assert reply.json()["usage"]["prompt_tokens_details"]["multimodal_tokens"] == {"image": 18 + 98}
    assert not same(answer(reply), answer(engine.ask(*reversed(parts))))


def test_the_same_image_twice_in_one_request(engine: Any) -> None:
    lease = engine.put(rows(48, 5))
    reply = engine.ask(engine.part(lease.key, 48), engine.part(lease.key, 48))
    assert reply.json()["usage"]["prompt_tokens_details"]["multimodal_tokens"] == {"image": 100}
    answer(reply)


def test_images_of_all_sizes_at_once_are_answered_as_alone(engine: Any) -> None:
    leases = [engine.put(rows(16 * (1 + n % 7), 100 + n)) for n in range(16)]
    contents = [[engine.part(lease.key, lease.rows), {"type": "text", "text": "What?"}] for lease in leases]
    together = engine.gather([engine.body(content, cache_salt="together") for content in contents])
    alone = engine.gather([engine.body(contents[0], cache_salt="alone")])
    for content in contents[1:]:
        alone += engine.gather([engine.body(content, cache_salt="alone")])
    for one, other in zip(together, alone, strict=True):
        assert same(answer(one), answer(other))


def test_pages_that_were_recycled_hold_the_new_rows(engine: Any) -> None:
    def pass_through(order: list[int], salt: str) -> dict[int, tuple[str, list[float]]]:
        answers = {}
        for number in order:
            lease = engine.put(rows(144, 200 + number))
            answers[number] = answer(engine.ask(engine.part(lease.key, 144), cache_salt=salt, max_tokens=4))
            lease.release()
        return answers

    evicted = engine.store.stats().evictions
    forth = pass_through(list(range(24)), "forth")
    assert engine.store.stats().evictions > evicted + 10
    back = pass_through(list(reversed(range(24))), "back")
    assert all(same(forth[number], back[number]) for number in forth)


def test_a_second_turn_about_the_same_image_comes_from_the_prefix_cache(engine: Any) -> None:
    lease = engine.put(rows(144, 6))
    first = {"role": "user", "content": [engine.part(lease.key, 144), {"type": "text", "text": "What?"}]}
    reply = engine.ask(messages=[first])
    turns = [first, {"role": "assistant", "content": answer(reply)[0]}, {"role": "user", "content": "And?"}]
    assert cached_tokens(reply) == 0
    assert cached_tokens(engine.ask(messages=turns)) >= 128


def test_an_image_that_is_wholly_in_the_prefix_cache_is_not_asked_of_the_arena(engine: Any) -> None:
    lease = engine.put(rows(64, 7))
    part = engine.part(lease.key, 64)
    before = answer(engine.ask(part, question="word " * 40))
    engine.store.forget(lease.key)
    reply = engine.ask(part, question="word " * 40)
    assert cached_tokens(reply) >= 96
    assert same(answer(reply), before)
    assert engine.ask(part, question="word " * 40, cache_salt="nothing cached").status_code == 500


def assert_fails_alone(engine: Any, bad: dict[str, Any]) -> None:
    """`bad` ends with the engine's error in either mode, requests beside and after it are answered."""
    good = engine.put(rows(48, 8))
    contents = [
        [engine.part(good.key, 48)],
        [bad],
        [engine.part(good.key, 48), bad],
        [engine.part(good.key, 48)],
    ]
    replies = engine.gather([engine.body(content, cache_salt=str(n)) for n, content in enumerate(contents)])
    assert [reply.status_code for reply in replies] == [200, 500, 500, 200]
    error = {"message": "Internal server error", "type": "InternalServerError", "param": None, "code": 500}
    assert replies[1].json() == {"error": error}
    stream = engine.ask(bad, stream=True)
    events = [line.removeprefix("data: ") for line in stream.text.splitlines() if line]
    assert stream.status_code == 200
    assert json.loads(events[0])["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert json.loads(events[1]) == {"error": error}
    assert events[2:] == ["[DONE]"]
    assert same(
        answer(engine.ask(engine.part(good.key, 48), cache_salt="after")),
        answer(engine.ask(engine.part(good.key, 48))),
    )


def test_a_missing_key_fails_alone_and_is_answered_once_it_is_there(engine: Any) -> None:
    made = rows(32, 9)
    key = engine.put(made).key
    engine.store.forget(key)
    assert_fails_alone(engine, engine.part(key, 32))
    engine.put(made)
    answer(engine.ask(engine.part(key, 32)))


@pytest.mark.parametrize("told", [16, 31, 33, 48])
def test_a_wrong_row_count_fails_alone(engine: Any, told: int) -> None:
    assert_fails_alone(engine, engine.part(engine.put(rows(32, 10)).key, told))


def test_a_wrong_row_count_fails_alone_while_the_engine_has_the_image_cached(engine: Any) -> None:
    key = engine.put(rows(32, 11)).key
    before = answer(engine.ask(engine.part(key, 32), cache_salt="before"))
    assert_fails_alone(engine, engine.part(key, 48))
    assert same(before, answer(engine.ask(engine.part(key, 32), cache_salt="after")))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_fail_alone(engine: Any, value: float) -> None:
    made = rows(32, 12)
    made[31, 5] = value
    assert_fails_alone(engine, engine.part(engine.put(made).key, 32))


def test_text_cannot_take_the_place_of_an_image(engine: Any) -> None:
    part = engine.part(engine.put(rows(16, 13)).key, 16)
    reply = engine.ask(part, question="<IMG_CONTEXT> and?")
    assert reply.status_code == 400
    assert "the prompt has 2 image placeholders for 1 images" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"soft_version": [2]}, "the handle is of version 2; the engine's plugin is of version 1"),
        ({"soft_target": "aGVsbG8="}, "encoded tensors are not taken"),
        ({"soft_layout": "gASVCgAAAAAAAACMBmhlbGxvlC4="}, "encoded tensors are not taken"),
        ({"soft_layout": [[1, 2, 3]]}, "must be a finite numeric array"),
        ({"soft_target": [1.5]}, "soft_target of a handle must be a list of whole numbers"),
        ({"pixel_values": [1]}, "only supported for metadata: pixel_values"),
        ({"soft_layout": None}, "it must have ['soft_layout', 'soft_target', 'soft_version']"),
        ({"soft_layout": [638, 161, 1]}, "has 161 soft tokens; allowed are 1 to 160"),
        ({"soft_layout": [5, 2000, 0, 638, 16, 1]}, "takes 2016 positions"),
        ({"soft_layout": [640, 1, 0, 638, 16, 1]}, "outside the vocabulary of 640"),
        ({"soft_target": [5, 5, 5]}, "the prompt has 0 image placeholders for 1 images"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_malformed_handle_is_refused_in_a_sentence(
    engine: Any, changes: dict[str, Any], sentence: str
) -> None:
    reply = engine.ask(engine.part(engine.put(rows(16, 13)).key, 16, **changes))
    assert reply.status_code == 400
    assert sentence in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "image_embeds", "uuid": "ab" * 32, "image_embeds": "aGVsbG8="},
        {"type": "image_embeds", "uuid": "ab" * 32, "image_embeds": None},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ],
    ids=["a tensor", "a bare key", "a raw image"],
)
def test_what_is_no_handle_is_refused(engine: Any, wrong: dict[str, Any]) -> None:
    assert engine.ask(wrong).status_code == 400


@pytest.mark.parametrize("uuid", [None, "", "mine", "AB" * 32])
def test_only_a_content_key_is_taken_as_uuid(engine: Any, uuid: str | None) -> None:
    reply = engine.ask({**engine.part("ab" * 32, 16), "uuid": uuid})
    assert reply.status_code == 400
    assert "key" in reply.json()["error"]["message"]


def test_parts_of_one_request_must_agree_in_their_target(engine: Any) -> None:
    key = engine.put(rows(16, 13)).key
    reply = engine.ask(engine.part(key, 16), engine.part(key, 16, soft_target=[637]))
    assert reply.status_code == 400
    assert "handles differ in their target" in reply.json()["error"]["message"]


def test_text_alone_is_answered(engine: Any) -> None:
    answer(engine.ask(question="Hello."))
