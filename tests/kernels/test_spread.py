"""Work over processes: in order, side by side, and errors come back."""

from __future__ import annotations

import os

import pytest

from kernels.spread import spread


def own_process(number: int) -> tuple[int, bool]:
    if number < 0:
        raise ValueError(f"{number} is below zero")
    return number, os.getpid() != int(os.environ["SPREAD_PARENT"])


@pytest.fixture(autouse=True)
def parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPREAD_PARENT", str(os.getpid()))


def test_results_come_in_the_order_of_the_items_from_other_processes() -> None:
    assert spread(own_process, [3, 1, 2], 2) == [(3, True), (1, True), (2, True)]


def test_one_job_needs_no_process() -> None:
    assert spread(own_process, [3, 1], 1) == [(3, False), (1, False)]
    assert spread(own_process, [], 4) == []


def test_an_error_is_raised_here() -> None:
    with pytest.raises(ValueError, match="-1 is below zero"):
        spread(own_process, [1, -1, 2], 2)
