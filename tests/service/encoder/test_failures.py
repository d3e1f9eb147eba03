"""What goes wrong with one image concerns that image alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import torch

from service.arena import ArenaStore
from service.encoder.cached import CachedEncoder
from service.encoder.local import LocalEncoder
from service.errors import ArenaFull, EncoderFailed, InvalidImage
from service.telemetry.timeline import StageTimings
from tests.service.encoder.fakes import ROWS, FakeDecode, FakeTower, job, rows_of, start, stored
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_an_error_names_the_place_of_each_waiters_image(
    encoder: CachedEncoder, decode: FakeDecode
) -> None:
    decode.open.clear()
    paths = ["messages[0]", "messages[7]"]
    tasks = [start(encoder, job("damaged", path=path)) for path in paths]
    await until(lambda: bool(decode.decoded))
    decode.open.set()
    for path, task in zip(paths, tasks, strict=True):
        with pytest.raises(InvalidImage, match="could not be decoded") as caught:
            await task
        assert caught.value.param == path
    assert decode.decoded == [b"damaged"]


async def test_a_full_arena_is_told_with_its_waiting_time(encoder: CachedEncoder) -> None:
    leases = [await encoder.encode(job(name), StageTimings()) for name in "abcd"]
    with pytest.raises(ArenaFull) as caught:
        await encoder.encode(job("e", path="messages[3]"), StageTimings())
    assert caught.value.retry_after >= 1
    assert caught.value.param == "messages[3]"
    leases[0].release()
    assert (await encoder.encode(job("e"), StageTimings())).rows == ROWS


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[:-1], r"torch.float32 \[1, 3\] of an image that needs torch.float32 \[2, 3\]"),
        (lambda rows: rows[:, :2], r"\[2, 2\]"),
        (lambda rows: rows.to(torch.float16), "torch.float16"),
        (lambda rows: rows.index_fill(1, torch.tensor([1]), float("nan")), "not finite"),
        (lambda rows: rows.index_fill(0, torch.tensor([0]), float("-inf")), "not finite"),
    ],
)
async def test_rows_that_the_engine_could_not_take_fail_their_image_alone(
    encoder: CachedEncoder,
    local: LocalEncoder,
    tower: FakeTower,
    arena: ArenaStore,
    spoil: Callable[[torch.Tensor], torch.Tensor],
    message: str,
) -> None:
    bad = rows_of("b")[0, 0]
    tower.spoil = lambda batch: [spoil(rows) if rows[0, 0] == bad else rows for rows in batch]
    tower.hold()
    blocker = start(encoder, job("z"))
    await tower.busy()
    tasks = {name: start(encoder, job(name)) for name in "abc"}
    await until(lambda: local.stats().waiting == 3)
    tower.release()
    with pytest.raises(EncoderFailed, match=message):
        await tasks["b"]
    await asyncio.gather(blocker, tasks["a"], tasks["c"])
    assert stored(arena, job("b")) is None
    assert torch.equal(stored(arena, job("c")), rows_of("c"))  # type: ignore[arg-type]
