"""Which requests are refused after deaths of the engine; the clock is the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import RequestBlocked
from service.pipeline.suspects import MOST, Suspects, fingerprint


class Deaths:
    def __init__(self, seconds: float = 300) -> None:
        self.now = 0.0
        self.blocked = 0
        self.suspects = Suspects(seconds, on_blocked=self._count, clock=lambda: self.now)

    def _count(self) -> None:
        self.blocked += 1

    def refused(self, payload: dict[str, Any]) -> bool:
        try:
            self.suspects.check(payload)
        except RequestBlocked as error:
            assert fingerprint(payload) in error.message
            return True
        return False


def test_one_death_blocks_nothing_and_a_second_in_a_row_blocks_what_was_in_both() -> None:
    deaths = Deaths()
    deaths.suspects.in_flight_at_death({"text": "deadly"}, 0)
    deaths.suspects.in_flight_at_death({"text": "bystander"}, 0)
    assert not deaths.refused({"text": "deadly"})
    deaths.suspects.in_flight_at_death({"text": "deadly"}, 1)
    deaths.suspects.in_flight_at_death({"text": "other"}, 1)
    assert deaths.refused({"text": "deadly"})
    assert not deaths.refused({"text": "bystander"}) and not deaths.refused({"text": "other"})
    assert deaths.blocked == 1


def test_twice_in_one_death_is_once() -> None:
    deaths = Deaths()
    for _ in range(3):
        deaths.suspects.in_flight_at_death({"text": "popular"}, 4)
    assert not deaths.refused({"text": "popular"})


def test_a_death_in_between_clears_it() -> None:
    deaths = Deaths()
    for run in (0, 2, 4):
        deaths.suspects.in_flight_at_death({"text": "unlucky"}, run)
    assert not deaths.refused({"text": "unlucky"})


def test_what_was_answered_in_between_is_no_suspect() -> None:
    deaths = Deaths()
    for run in (0, 1, 2):
        deaths.suspects.in_flight_at_death({"text": "popular"}, run)
        deaths.suspects.answered({"text": "popular"})
        deaths.suspects.answered({"text": "never suspected"})
    assert not deaths.refused({"text": "popular"}) and deaths.blocked == 0


def test_an_answer_clears_nothing_but_what_was_answered() -> None:
    deaths = Deaths()
    deaths.suspects.in_flight_at_death({"text": "deadly"}, 0)
    deaths.suspects.answered({"text": "other"})
    deaths.suspects.in_flight_at_death({"text": "deadly"}, 1)
    assert deaths.refused({"text": "deadly"})


def test_a_block_ends_and_a_suspicion_is_forgotten() -> None:
    deaths = Deaths(seconds=300)
    deaths.suspects.in_flight_at_death({"text": "deadly"}, 0)
    deaths.now = 299
    deaths.suspects.in_flight_at_death({"text": "deadly"}, 1)
    deaths.now = 598
    assert deaths.refused({"text": "deadly"})
    deaths.now = 599
    assert not deaths.refused({"text": "deadly"})
    deaths.suspects.in_flight_at_death({"text": "deadly"}, 2)
    assert not deaths.refused({"text": "deadly"})


def test_zero_seconds_turn_it_off() -> None:
    deaths = Deaths(seconds=0)
    deaths.suspects.in_flight_at_death({"text": "deadly"}, 0)
    deaths.suspects.in_flight_at_death({"text": "deadly"}, 1)
    assert not deaths.refused({"text": "deadly"})


def test_the_order_of_members_does_not_matter_and_surrogates_do_no_harm() -> None:
    assert fingerprint({"a": 1, "b": "\ud800"}) == fingerprint({"b": "\ud800", "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_memory_is_bounded() -> None:
    deaths = Deaths()
    for number in range(MOST + 10):
        deaths.suspects.in_flight_at_death({"n": number}, 0)
    for number in reversed(range(MOST + 10)):
        deaths.suspects.in_flight_at_death({"n": number}, 1)
    assert len(deaths.suspects._seen) == len(deaths.suspects._blocked) == MOST


@pytest.mark.parametrize("run", [0, 7])
def test_the_first_run_seen_is_no_second_death(run: int) -> None:
    deaths = Deaths()
    deaths.suspects.in_flight_at_death({"text": "x"}, run)
    assert not deaths.refused({"text": "x"})
