"""A thread pool whose threads run torch on one core each, so that nobody waits for the others after every operation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

T = TypeVar("T")


class ThreadPool:
    """`size` threads, which last as long as the pool. Used by one thread at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        threads = torch.get_num_threads()
        met = threading.Barrier(size)
        self._pool = ThreadPoolExecutor(size, "patchbay-blocks", torch.set_num_threads, (1,))
        # each waits for the others, so that all are started
        for meeting in [self._pool.submit(met.wait) for _ in range(size)]:
            meeting.result()
        # what a thread sets for itself is also what torch gives to threads that begin after it
        torch.set_num_threads(threads)

    def each(self, work: Callable[[T], object], parts: Iterable[T]) -> None:
        """`work` on every part. Raises what `work` raised for the first part that failed, after all have ended."""
        running = [self._pool.submit(work, part) for part in parts]
        wait(running)
        for part in running:
            part.result()
