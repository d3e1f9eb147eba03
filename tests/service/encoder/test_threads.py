"""Only the encoder's own threads give way: not the thread that answers requests, in the same process."""

from __future__ import annotations

import os
import sys
import threading

import pytest
import torch

from service.encoder.threads import NICE, give_way


def _niceness(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


@pytest.mark.skipif(sys.platform != "linux", reason="niceness belongs to a thread on Linux alone")
def test_the_computing_thread_and_those_that_torch_starts_for_it_give_way() -> None:
    before, seen = _niceness(threading.get_native_id()), {}

    def compute() -> None:
        known = set(os.listdir("/proc/self/task"))
        give_way(3)
        torch.ones(1 << 22).mul_(2)
        started = set(os.listdir("/proc/self/task")) - known
        seen["threads"] = {torch.get_num_threads()}
        seen["own"] = {_niceness(threading.get_native_id())}
        seen["torch's"] = {_niceness(int(thread)) for thread in started}

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert seen == {"threads": {3}, "own": {before + NICE}, "torch's": {before + NICE}}
    assert _niceness(threading.get_native_id()) == before
