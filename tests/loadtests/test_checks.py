"""An answer is right, wrong, refused or failed, and it is said why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.checks import Expected, Reply, check
from loadtests.figures import FAILED, REFUSED, RIGHT, WRONG, Cell
from loadtests.slo import Objectives, all_met, judge

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"image_tokens": 16}}
GOOD = Reply(status=200, text="Red.", finish="stop", usage=USAGE, done=True, first=1.0)
BUSY = Reply(status=429, code="queue_full", retry_after="2")


@pytest.mark.parametrize(
    ("judged_by", "expected", "end", "truthful"),
    [
        ("alone", Expected(alone="red", truth="blue"), RIGHT, False),
        ("world", Expected(alone="blue", truth="red"), RIGHT, True),
        ("alone", Expected(alone="blue", truth="red"), WRONG, True),
        ("world", Expected(alone="red", truth="blue"), WRONG, False),
        ("none", Expected(alone="blue"), RIGHT, None),
        ("world", Expected(alone="blue"), RIGHT, None),
    ],
)
def test_answers_are_held_against_what_is_asked_for(
    judged_by: str, expected: Expected, end: str, truthful: bool | None
) -> None:
    verdict = check(GOOD, expected, judged_by)
    assert (verdict.end, verdict.truthful) == (end, truthful)
    assert bool(verdict.reason) == (end == WRONG)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": 500, "code": "internal_error"}, "500 internal_error"),
        ({"status": 429}, "429"),
        ({"code": "engine_error"}, "engine_error"),
        ({"failure": "no whole answer within 60 s"}, "no whole answer"),
        ({"done": False}, "DONE"),
        ({"first": None}, "empty"),
        ({"finish": ""}, "finish_reason"),
        ({"usage": {}}, "no tokens"),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2}}, "no image tokens"),
    ],
)
def test_half_an_answer_is_a_failure(change: dict[str, object], reason: str) -> None:
    verdict = check(replace(GOOD, **change), Expected(alone="red", image_tokens=True), "alone")
    assert verdict.end == FAILED and reason in verdict.reason


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_with_retry_after_is_no_failure(status: int) -> None:
    for expected in (Expected(alone="red"), Expected(codes=("invalid_image",))):
        assert check(replace(BUSY, status=status), expected, "alone").end == REFUSED


@pytest.mark.parametrize(
    ("reply", "any_code", "end"),
    [
        (Reply(status=400, code="invalid_image"), False, RIGHT),
        (Reply(status=400, code="invalid_value"), False, FAILED),
        (Reply(status=422, code="invalid_image"), False, FAILED),
        (Reply(status=422, code="bad"), True, RIGHT),
        (Reply(status=401, code="bad"), True, FAILED),
        (Reply(status=500, code="invalid_image"), True, FAILED),
        (GOOD, False, FAILED),
        (GOOD, True, FAILED),
    ],
)
def test_a_broken_image_must_be_refused_in_the_right_words(reply: Reply, any_code: bool, end: str) -> None:
    assert check(reply, Expected(codes=("invalid_image",), any_code=any_code), "alone").end == end


def cell(first: list[float], late: float = 1.0, **counts: int) -> Cell:
    found = Cell()
    found.values["first_token_ms"].extend(first)
    found.values["late_ms"].append(late)
    found.counts.update(counts)
    return found


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (cell([100] * 19 + [5000], right=20), []),
        (cell([100] * 18 + [5000] * 2, right=20), ["first token p95, ms"]),
        (cell([100] * 17, right=17, awaited=20), ["first token p95, ms"]),
        (cell([100], right=99, failed=1), ["errors, share"]),
        (cell([100], right=99, refused=1), ["refused, share"]),
        (cell([100], right=98, wrong=2), ["right answers, share"]),
        (cell([]), ["right answers, share"]),
        (cell([100], late=900.0, right=1), ["generator late p99, ms"]),
    ],
)
def test_objectives_are_met_or_missed_by_name(found: Cell, missed: list[str]) -> None:
    lines = judge(found, Objectives())
    assert [line.name for line in lines if not line.met] == missed
    assert all_met(lines) == (not missed)


@pytest.mark.parametrize(
    ("made", "first", "last", "rate"),
    [(5, 10.0, 30.0, 200.0), (5, 10.0, 10.5, None), (1, 10.0, 30.0, None), (5, None, None, None)],
)
def test_what_came_in_one_piece_has_no_speed(
    made: int, first: float | None, last: float | None, rate: float | None
) -> None:
    reply = Reply(usage={"completion_tokens": made}, first=first, last=last)
    assert reply.tokens_per_second == rate


def test_what_is_not_asked_for_is_not_judged() -> None:
    lines = judge(cell([9e9], right=1), Objectives(first_token_p95=None, late_p99=None))
    assert all_met(lines) and len(lines) == 3
    gap = judge(cell([1], right=1), Objectives(inter_token_p95=50.0, total_p95=80.0))
    # nothing was measured of them, so nothing was missed
    assert [line.value for line in gap if line.name.startswith(("inter", "whole"))] == [None, None]
