"""Which spans a request is told."""

from __future__ import annotations

import asyncio
import gc

import pytest

from service.arena import ArenaStore
from service.encoder.cached import CachedEncoder
from service.encoder.local import LocalEncoder
from service.errors import EncoderFailed
from service.telemetry.timeline import Span, StageTimings
from tests.service.encoder.fakes import BUDGET, FakeDecode, FakeTower, job
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_stages_are_timed_and_count_only_while_their_request_waits(
    decode: FakeDecode, tower: FakeTower, arena: ArenaStore
) -> None:
    now = [0.0]
    local = LocalEncoder(tower, decode, budget=BUDGET, clock=lambda: now[0])
    encoder = CachedEncoder(local, arena, clock=lambda: now[0])
    early, late = StageTimings(), StageTimings()
    decode.open.clear()
    tower.hold()
    first = asyncio.create_task(encoder.encode(job("a"), early))
    await until(lambda: bool(decode.decoded))
    now[0] = 4.0
    second = asyncio.create_task(encoder.encode(job("a"), late))
    await asyncio.sleep(0)
    now[0] = 5.0
    decode.open.set()
    await tower.busy()
    now[0] = 8.0
    tower.release()
    await asyncio.gather(first, second)
    assert [(span.stage, span.begin, span.end) for span in early.spans] == [
        ("decode", 0.0, 5.0),
        ("encode_queue", 5.0, 5.0),
        ("encode", 5.0, 8.0),
        ("transfer", 8.0, 8.0),
    ]
    assert late.spans[0] == Span("decode", 4.0, 5.0)
    assert late.spans[1:] == early.spans[1:]
    await encoder.close()


async def test_the_same_image_twice_is_timed_for_both_and_leaves_nothing_behind(
    local: LocalEncoder,
    encoder: CachedEncoder,
) -> None:
    one, other = StageTimings(), StageTimings()
    await asyncio.gather(encoder.encode(job("a"), one), encoder.encode(job("a"), other))
    assert [span.stage for span in one.spans] == ["decode", "encode_queue", "encode", "transfer"]
    assert one.spans == other.spans
    leaving = asyncio.create_task(encoder.encode(job("b"), StageTimings()))
    await asyncio.sleep(0)  # its work exists and has not begun
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    del leaving
    await encoder.close()
    gc.collect()
    assert len(encoder._strands) == 0


async def test_an_image_that_is_given_up_or_fails_is_timed_as_far_as_it_came(
    decode: FakeDecode, tower: FakeTower, arena: ArenaStore
) -> None:
    now = [0.0]
    local = LocalEncoder(tower, decode, budget=BUDGET, clock=lambda: now[0])
    encoder = CachedEncoder(local, arena, clock=lambda: now[0])
    left, failed = StageTimings(), StageTimings()
    decode.open.clear()
    leaving = asyncio.create_task(encoder.encode(job("a"), left))
    failing = asyncio.create_task(encoder.encode(job("b"), failed))
    await until(lambda: len(decode.decoded) == 2)
    now[0] = 3.0
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    tower.spoil = lambda batch: [row[:1] for row in batch]
    now[0] = 4.0
    decode.open.set()
    with pytest.raises(EncoderFailed):
        await failing
    assert left.spans == [Span("decode", 0.0, 3.0)]
    assert failed.spans[0] == Span("decode", 0.0, 4.0)
    assert [span.stage for span in failed.spans] == ["decode", "encode_queue", "encode", "transfer"]
    await encoder.close()
