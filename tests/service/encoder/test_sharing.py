"""An image is made once: the arena, encodings that are shared, and waiters that leave."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.arena import ArenaLease, ArenaSpec, ArenaStore
from service.encoder.cached import CachedEncoder
from service.encoder.local import LocalEncoder
from service.telemetry.timeline import StageTimings
from tests.service.encoder.fakes import ROWS, FakeDecode, FakeTower, job, start
from tests.waiting import DEADLOCK, until

pytestmark = pytest.mark.anyio


async def test_a_second_request_is_answered_without_decoding(
    encoder: CachedEncoder, decode: FakeDecode, tower: FakeTower
) -> None:
    first = await encoder.encode(job("a"), StageTimings())
    timings = StageTimings()
    again = await encoder.encode(job("a"), timings)
    assert (first.cached, again.cached, again.rows) == (False, True, ROWS)
    assert decode.decoded == [b"a"]
    assert tower.batches == [[1]]
    assert timings.spans == []


async def test_what_was_forgotten_is_made_anew(encoder: CachedEncoder, decode: FakeDecode) -> None:
    (await encoder.encode(job("a"), StageTimings())).release()
    encoder.forget(job("a").key)
    assert not (await encoder.encode(job("a"), StageTimings())).cached
    assert decode.decoded == [b"a", b"a"]


async def test_an_image_is_known_from_when_its_encoding_begins(
    encoder: CachedEncoder, decode: FakeDecode
) -> None:
    key = job("a").key
    assert not encoder.knows(key)
    decode.open.clear()
    task = start(encoder, job("a"))
    await until(lambda: bool(decode.decoded))
    assert encoder.knows(key) and not encoder.knows(job("b").key)
    decode.open.set()
    (await task).release()
    assert encoder.knows(key)
    encoder.forget(key)
    assert not encoder.knows(key)


async def test_requests_at_the_same_time_share_one_encoding(
    encoder: CachedEncoder, decode: FakeDecode, tower: FakeTower, arena: ArenaStore
) -> None:
    decode.open.clear()
    tasks = [start(encoder, job("a")) for _ in range(3)]
    await until(lambda: bool(decode.decoded))
    decode.open.set()
    leases = [await task for task in tasks]
    assert decode.decoded == [b"a"]
    assert tower.batches == [[1]]
    assert not any(lease.cached for lease in leases)
    for lease in leases:
        assert arena.stats().leased_rows == ROWS
        lease.release()
    assert arena.stats().leased_rows == 0


async def test_the_first_to_ask_may_leave(
    encoder: CachedEncoder, decode: FakeDecode, arena: ArenaStore
) -> None:
    decode.open.clear()
    first, second = start(encoder, job("a")), start(encoder, job("a"))
    await until(lambda: bool(decode.decoded))
    first.cancel()
    await asyncio.wait([first])
    decode.open.set()
    (await second).release()
    assert decode.decoded == [b"a"]
    assert arena.stats().leased_rows == 0


async def test_decoding_ends_when_nobody_waits(
    encoder: CachedEncoder, decode: FakeDecode, tower: FakeTower
) -> None:
    decode.open.clear()
    tasks = [start(encoder, job("a")), start(encoder, job("a"))]
    await until(lambda: bool(decode.decoded))
    for task in tasks:
        task.cancel()
    await until(lambda: decode.cancelled == 1)
    decode.open.set()
    assert not (await encoder.encode(job("a"), StageTimings())).cached
    assert tower.batches == [[1]]


async def test_queued_work_is_skipped_when_nobody_waits(
    encoder: CachedEncoder, local: LocalEncoder, tower: FakeTower
) -> None:
    tower.hold()
    blocker = start(encoder, job("z"))
    await tower.busy()
    leaves, stays = start(encoder, job("a", tiles=3)), start(encoder, job("b"))
    await until(lambda: local.stats().waiting == 2)
    leaves.cancel()
    await asyncio.wait([leaves])
    tower.release()
    await asyncio.gather(blocker, stays)
    assert tower.batches == [[1], [1]]
    assert local.stats().cancelled == 1


class SlowArena(ArenaStore):
    """Its copies stand still until the test lets them go."""

    def __init__(self, path: str, spec: ArenaSpec) -> None:
        super().__init__(path, spec)
        self.entered = threading.Event()
        self.proceed = threading.Event()

    def put(self, key: str, rows: npt.NDArray[np.uint8]) -> ArenaLease:
        self.entered.set()
        assert self.proceed.wait(DEADLOCK)
        return super().put(key, rows)


async def test_leaving_during_the_copy_holds_no_lease(
    local: LocalEncoder, decode: FakeDecode, tower: FakeTower, arena: ArenaStore, tmp_path: Path
) -> None:
    slow = SlowArena(str(tmp_path / "slow"), arena.spec)
    encoder = CachedEncoder(local, slow)
    task = start(encoder, job("a"))
    assert await asyncio.to_thread(slow.entered.wait, DEADLOCK)
    task.cancel()
    await asyncio.wait([task])
    slow.proceed.set()
    await until(lambda: slow.stats().entries == 1)
    await until(lambda: slow.stats().leased_rows == 0)
    assert (await encoder.encode(job("a"), StageTimings())).cached
    await encoder.close()
    slow.close()
