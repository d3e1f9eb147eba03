"""What clients ask: unique images are asked about once, whoever asks; only repeated and talked-about ones again."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest

from benchmarks.race.scenarios import SCENARIOS, Ask, Scenario, draw, open_loop

UNIQUE = [name for name in SCENARIOS if name.startswith(("unique", "mixed", "4 images"))]


def _asks(name: str, most: int = 1000) -> list[list[Ask]]:
    scenario = SCENARIOS[name]
    return [list(islice(script, most)) for script in scenario.scripts(scenario.clients, str)]


def _urls(messages: list[dict[str, Any]]) -> list[str]:
    parts = [part for message in messages for part in message["content"] if isinstance(part, dict)]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


@pytest.mark.parametrize("name", UNIQUE)
def test_no_image_is_asked_about_twice_and_all_are_drawn(name: str) -> None:
    scenario = SCENARIOS[name]
    seen = Counter(url for script in _asks(name) for ask in script for url in _urls(ask.messages))
    assert set(seen.values()) == {1}
    assert {int(url) for url in seen} == set(range(scenario.clients * scenario.images))


def test_four_images_are_in_one_request() -> None:
    assert {
        len(_urls(ask.messages)) for script in _asks("4 images a request, 4 clients") for ask in script
    } == {4}


def test_a_repeated_image_has_a_new_question_each_time() -> None:
    asks = [ask for script in _asks("one repeated image, 8 clients", 20) for ask in script]
    assert {url for ask in asks for url in _urls(ask.messages)} == {"0"}
    assert len({str(ask.messages) for ask in asks}) == 160


def test_a_conversation_sends_its_images_with_every_turn() -> None:
    first = _asks("conversations, 4 clients")[0][:5]
    assert [len(ask.messages) for ask in first] == [1, 3, 5, 7, 1]
    assert [_urls(ask.messages) for ask in first] == [["0", "1"]] * 4 + [["2", "3"]]
    assert first[3].messages[:5] == first[2].messages


def test_beside_a_flood_only_text_is_measured() -> None:
    for script in _asks("text beside an image flood, 2 of 8 clients", 10):
        assert {ask.measured for ask in script} == {not _urls(script[0].messages)}


def test_an_open_loop_asks_about_a_new_image_each_time_at_its_rate() -> None:
    scenario = open_loop(rate=5, seconds=200, seed=3)
    assert scenario.due is not None and scenario.due == open_loop(rate=5, seconds=200, seed=3).due
    assert list(scenario.due) == sorted(scenario.due) and scenario.due[0] > 0 and scenario.due[-1] < 200
    assert len(scenario.due) == pytest.approx(1000, rel=0.15)
    (script,) = scenario.scripts(1, str)
    assert [_urls(ask.messages) for ask in script] == [[str(n)] for n in range(len(scenario.due))]


def test_images_of_one_seed_are_the_same_and_of_another_are_not() -> None:
    small = Scenario("small", 1, 2, lambda clients, urls: [], ((32, 24), (24, 32)))
    assert draw(small, 1, 1) == draw(small, 1, 1)
    assert len({*draw(small, 1, 1), *draw(small, 2, 1)}) == 4
