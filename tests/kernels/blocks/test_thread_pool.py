"""Its threads work side by side on a core each, and leave everybody else's threads as they were."""

from __future__ import annotations

import threading

import pytest
import torch

from kernels.blocks.thread_pool import ThreadPool
from tests.waiting import DEADLOCK


def test_each_part_is_worked_on_by_one_thread_and_all_at_once() -> None:
    pool, met, seen = ThreadPool(3), threading.Barrier(3), []

    def work(part: int) -> None:
        met.wait(DEADLOCK)
        seen.append((part, torch.get_num_threads()))

    pool.each(work, range(3))
    assert sorted(seen) == [(0, 1), (1, 1), (2, 1)]


def test_others_keep_their_threads() -> None:
    torch.set_num_threads(2)
    ThreadPool(2)
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert torch.get_num_threads() == 2 and later == [2]


def test_what_fails_is_told_when_all_have_ended() -> None:
    pool, ended = ThreadPool(2), []

    def work(part: int) -> None:
        if part == 0:
            raise ValueError("no")
        ended.append(part)

    with pytest.raises(ValueError, match="no"):
        pool.each(work, [0, 1, 2])
    assert ended == [1, 2]
