"""Which of the waiting items go to the device together: pure functions, without threads or a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Reply(Generic[R]):
    """What came of one item, and when, in seconds of the batcher's clock."""

    value: R
    queued: float
    began: float
    ended: float


@dataclass(frozen=True, slots=True, eq=False)
class Entry(Generic[T, R]):
    """An item in the queue, with its reply."""

    item: T
    cost: int
    bucket: Hashable
    """Only entries of equal buckets share a batch."""
    future: asyncio.Future[Reply[R]]
    queued: float


def pack(waiting: Sequence[Entry[T, R]], budget: int) -> tuple[list[Entry[T, R]], list[Entry[T, R]]]:
    """Splits the waiting entries into (the next batch, the rest), both in order of arrival.

    The oldest entry is always included and determines the bucket; later ones fill the rest of the budget, so a small
    one may overtake a large one. No entry starves: one with k others before it is in the (k+1)th batch at the latest.
    No entry may cost more than the budget.
    """
    batch: list[Entry[T, R]] = []
    rest: list[Entry[T, R]] = []
    left = budget
    for entry in waiting:
        if entry.cost <= left and (not batch or entry.bucket == batch[0].bucket):
            batch.append(entry)
            left -= entry.cost
        else:
            rest.append(entry)
    return batch, rest
