"""From the start over health to the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch

from service.arena import ArenaSpec, ArenaStore
from service.encoder.cached import CachedEncoder
from service.encoder.local import LocalEncoder
from service.errors import ConfigurationError, EncoderFailed
from service.telemetry.timeline import StageTimings, Strand
from tests.service.encoder.fakes import BUDGET, WIDTH, FakeDecode, FakeTower, job, start
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_warm_up_and_probe_run_the_largest_and_the_smallest_batch(
    encoder: CachedEncoder, local: LocalEncoder, tower: FakeTower, arena: ArenaStore
) -> None:
    await local.warm_up(BUDGET)
    assert await local.probe()
    assert tower.batches == [[BUDGET // 2], [1]]
    assert arena.stats().entries == 0


async def test_health_is_the_last_batch_and_a_probe_mends_it(
    encoder: CachedEncoder, local: LocalEncoder, tower: FakeTower
) -> None:
    def fail(batch: list[torch.Tensor]) -> list[torch.Tensor]:
        raise RuntimeError("device lost")

    tower.spoil = fail
    with pytest.raises(EncoderFailed, match="RuntimeError"):
        await encoder.encode(job("a"), StageTimings())
    assert not await local.probe()
    await until(lambda: not local.healthy)
    tower.spoil = lambda rows: [rows[0].fill_(float("nan"))]
    assert not await local.probe()
    tower.spoil = lambda rows: rows
    assert await local.probe()
    await until(lambda: local.healthy)


async def test_close_fails_what_waits_and_leaves_no_lease(
    encoder: CachedEncoder, local: LocalEncoder, decode: FakeDecode, tower: FakeTower, arena: ArenaStore
) -> None:
    tower.hold()
    runs = start(encoder, job("a"))
    await tower.busy()
    waits = start(encoder, job("b"))
    await until(lambda: local.stats().waiting == 1)
    decode.open.clear()
    decodes = start(encoder, job("c"))
    await until(lambda: b"c" in decode.decoded)
    closing = asyncio.create_task(encoder.close())
    with pytest.raises(EncoderFailed, match="shutting down"):
        await waits
    tower.release()
    (await runs).release()
    assert not closing.done()
    decode.open.set()
    with pytest.raises(EncoderFailed, match="shutting down"):
        await decodes
    await closing
    assert arena.stats().leased_rows == 0


async def test_threads_are_set_for_the_device(
    decode: FakeDecode, tower: FakeTower, arena: ArenaStore
) -> None:
    before = torch.get_num_threads()
    local = LocalEncoder(tower, decode, budget=BUDGET, threads=before + 2)
    encoder = CachedEncoder(local, arena)
    try:
        await encoder.encode(job("a"), StageTimings())
        assert tower.threads == [before + 2]
    finally:
        await encoder.close()
        torch.set_num_threads(before)


@pytest.mark.parametrize("spec", [(4, "float32"), (WIDTH, "bfloat16")])
async def test_an_arena_for_other_rows_is_refused(
    local: LocalEncoder, decode: FakeDecode, tower: FakeTower, tmp_path: Path, spec: tuple[int, str]
) -> None:
    arena = ArenaStore(str(tmp_path / "other"), ArenaSpec(*spec, page_rows=4, pages=4, slots=4, max_pages=2))
    with pytest.raises(ConfigurationError, match=f"rows of {spec[0]} × {spec[1]} .* rows of 3 × float32"):
        CachedEncoder(local, arena)
    arena.close()


async def test_the_backlog_is_all_that_has_not_come_back(decode: FakeDecode, tower: FakeTower) -> None:
    now = [0.0]
    encoder = LocalEncoder(tower, decode, budget=BUDGET, clock=lambda: now[0])
    tower.hold()
    first = asyncio.create_task(encoder.encode(job("a", tiles=2), Strand()))
    await tower.busy()
    assert encoder.backlog == 0.0  # how fast it is has not been seen yet
    now[0] = 2.0  # for four patches
    tower.release()
    await first
    await until(lambda: encoder.stats().speed == 2.0)
    assert encoder.backlog == 0.0
    decode.open.clear()
    short, long = (
        asyncio.create_task(encoder.encode(one, Strand())) for one in (job("b"), job("c", tiles=3))
    )
    await until(lambda: len(decode.decoded) == 3)
    assert encoder.backlog == 4.0
    long.cancel()
    await asyncio.wait([long])
    assert encoder.backlog == 1.0
    decode.open.set()
    await short
    assert encoder.backlog == 0.0
    await encoder.close()
