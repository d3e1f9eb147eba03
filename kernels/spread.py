"""Work that the host does alone, compiling above all, over processes of their own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def spread(function: Callable[[T], R], items: Iterable[T], jobs: int | None = None) -> list[R]:
    """What `function` makes of each item, in their order; `jobs` at once, by default one for each core.

    Processes begin anew, since one that was forked cannot use a GPU that its parent uses. So `function` must be found
    by its name in a module. Raises what it raises first, and BrokenProcessPool where a process dies.
    """
    given = list(items)
    jobs = min(jobs or len(os.sched_getaffinity(0)), len(given))
    if jobs <= 1:
        return [function(each) for each in given]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(function, given))
