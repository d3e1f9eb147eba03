"""A crew works side by side on a core each, and leaves everybody else's threads as they were."""

from __future__ import annotations

import threading

import pytest
import torch

from kernels.blocks.crew import Crew
from tests.waiting import DEADLOCK


def test_each_part_is_worked_on_by_one_thread_and_all_at_once() -> None:
    crew, met, seen = Crew(3), threading.Barrier(3), []

    def work(part: int) -> None:
        met.wait(DEADLOCK)
        seen.append((part, torch.get_num_threads()))

    crew.each(work, range(3))
    assert sorted(seen) == [(0, 1), (1, 1), (2, 1)]


def test_others_keep_their_threads() -> None:
    torch.set_num_threads(2)
    Crew(2)
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert torch.get_num_threads() == 2 and later == [2]


def test_what_fails_is_told_when_all_have_ended() -> None:
    crew, ended = Crew(2), []

    def work(part: int) -> None:
        if part == 0:
            raise ValueError("no")
        ended.append(part)

    with pytest.raises(ValueError, match="no"):
        crew.each(work, [0, 1, 2])
    assert ended == [1, 2]
