"""Which images go to the device together, and what comes back for each."""

from __future__ import annotations

import asyncio

import pytest
import torch

from service.arena import ArenaStore
from service.encoder.cached import CachedEncoder
from service.encoder.local import LocalEncoder
from service.telemetry.timeline import StageTimings
from tests.service.encoder.fakes import (
    BUDGET,
    ROWS,
    FakeDecode,
    FakeTower,
    job,
    rows_of,
    start,
    stored,
)
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_distinct_images_in_one_batch_get_their_own_rows(
    encoder: CachedEncoder, local: LocalEncoder, tower: FakeTower, arena: ArenaStore
) -> None:
    tower.hold()
    blocker = start(encoder, job("z"))
    await tower.busy()
    jobs = [job("a"), job("b", tiles=2), job("c")]
    tasks = [start(encoder, image) for image in jobs]
    await until(lambda: local.stats().waiting == 3)
    tower.release()
    leases = [await task for task in [blocker, *tasks]]
    assert tower.batches == [[1], [1, 2, 1]]
    assert [(lease.key, lease.rows) for lease in leases[1:]] == [
        (each.key, each.plan.tokens) for each in jobs
    ]
    for image, expected in zip(jobs, [rows_of("a"), rows_of("b", 2), rows_of("c")], strict=True):
        assert torch.equal(stored(arena, image), expected)  # type: ignore[arg-type]


async def test_only_images_that_the_tower_takes_together_share_a_batch(
    encoder: CachedEncoder, local: LocalEncoder, tower: FakeTower
) -> None:
    tower.hold()
    blocker = start(encoder, job("z"))
    await tower.busy()
    tasks = [start(encoder, job("a")), start(encoder, job("b", tiles=2, side=4)), start(encoder, job("c"))]
    await until(lambda: local.stats().waiting == 3)
    tower.release()
    await asyncio.gather(blocker, *tasks)
    assert tower.batches == [[1], [1, 1], [2]]


async def test_a_batch_that_is_too_large_for_the_memory_is_split(
    encoder: CachedEncoder, local: LocalEncoder, tower: FakeTower
) -> None:
    def spoil(batch: list[torch.Tensor]) -> list[torch.Tensor]:
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch

    tower.spoil = spoil
    tower.hold()
    blocker = start(encoder, job("z"))
    await tower.busy()
    tasks = [start(encoder, job("a")), start(encoder, job("b"))]
    await until(lambda: local.stats().waiting == 2)
    tower.release()
    assert [(await task).rows for task in [blocker, *tasks]] == [ROWS, ROWS, ROWS]
    assert tower.batches == [[1], [1, 1], [1], [1]]


async def test_reports_its_batches(decode: FakeDecode, tower: FakeTower, arena: ArenaStore) -> None:
    batches: list[tuple[int, int]] = []
    local = LocalEncoder(
        tower, decode, budget=BUDGET, on_batch=lambda items, cost, *_: batches.append((items, cost))
    )
    encoder = CachedEncoder(local, arena)
    await encoder.encode(job("a", tiles=3), StageTimings())
    await encoder.close()
    assert batches == [(1, 6)]
