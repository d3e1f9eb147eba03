from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from kernels.backend import Backend
from kernels.blocks import Body
from service.arena import ArenaLease, ArenaReader, ArenaSpec, ArenaStore
from service.domain import ImageBytes, ImageFormat, ImageJob, TilePlan, View
from service.encoder import LocalEncoder
from service.errors import ArenaFull, ConfigurationError, EncoderFailed, InvalidImage
from service.families.towers import Views
from service.timeline import Span, StageTimings

pytestmark = pytest.mark.anyio
HANG = 20.0
WIDTH = 3
ROWS = 2
BUDGET = 8


def job(name: str, tiles: int = 1, path: str = "messages[0]", side: int = 2) -> ImageJob:
    """An image of `tiles` tiles whose pixels are all the code of its name's last letter; two patches a tile."""
    plan = TilePlan(
        "high", tuple(View(side, side, side, side) for _ in range(tiles)), ROWS * tiles, 2 * tiles
    )
    image = ImageBytes(name.encode(), ImageFormat.PNG, 2, 2, "data")
    return ImageJob(name.encode().hex().rjust(64, "0"), image, plan, path)


def rows_of(name: str, tiles: int = 1) -> torch.Tensor:
    """What FakeTower makes of `job(name, tiles)`."""
    return torch.arange(ROWS * tiles * WIDTH).reshape(-1, WIDTH).float() + 100 * ord(name[-1])


class FakeDecode:
    def __init__(self) -> None:
        self.decoded: list[bytes] = []
        self.cancelled = 0
        self.open = asyncio.Event()
        self.open.set()

    async def tiles(self, image: ImageBytes, plan: TilePlan, path: str) -> list[npt.NDArray[np.uint8]]:
        self.decoded.append(image.data)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if image.data.startswith(b"damaged"):
            raise InvalidImage("The image could not be decoded.", param=path)
        return [np.full((1, 2, 2, 3), image.data[-1], dtype=np.uint8) for _ in plan.views]


class FakeTower:
    """Each row tells which image, tile and column it is of; `spoil` may break what comes out."""

    width = WIDTH
    dtype = torch.float32
    device = torch.device("cpu")
    backend: Backend = "reference"
    body: Body = "transformers"

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        """Per batch, the tiles of each image."""
        self.threads: list[int] = []
        self.entered = threading.Semaphore(0)
        self.let_go = threading.Semaphore(1000)
        self.spoil: Callable[[list[torch.Tensor]], list[torch.Tensor]] = lambda rows: rows

    def encode(self, images: Sequence[Views]) -> list[torch.Tensor]:
        self.batches.append([sum(map(len, views)) for views in images])
        self.threads.append(torch.get_num_threads())
        self.entered.release()
        assert self.let_go.acquire(timeout=HANG)
        return self.spoil([rows_of(chr(int(v[0][0, 0, 0, 0])), sum(map(len, v))) for v in images])

    def bucket(self, plan: TilePlan) -> Hashable:
        return plan.views[0].tile_width

    def blank(self, patches: int) -> list[torch.Tensor]:
        return [torch.zeros(max(1, patches // 2), 2, 2, 3, dtype=torch.uint8)]

    def hold(self) -> None:
        while self.let_go.acquire(blocking=False):
            pass

    def release(self) -> None:
        self.let_go.release(1000)

    async def busy(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=HANG)


@pytest.fixture
def decode() -> FakeDecode:
    return FakeDecode()


@pytest.fixture
def tower() -> FakeTower:
    return FakeTower()


@pytest.fixture
async def arena(tmp_path: Path) -> AsyncIterator[ArenaStore]:
    spec = ArenaSpec(WIDTH, "float32", page_rows=4, pages=4, slots=4, max_pages=2)
    arena = ArenaStore(str(tmp_path / "arena"), spec)
    yield arena
    arena.close()


@pytest.fixture
async def encoder(decode: FakeDecode, tower: FakeTower, arena: ArenaStore) -> AsyncIterator[LocalEncoder]:
    encoder = LocalEncoder(tower, decode, arena, budget=BUDGET)
    yield encoder
    decode.open.set()
    tower.release()
    await encoder.close()


def start(encoder: LocalEncoder, job: ImageJob) -> asyncio.Task[ArenaLease]:
    return asyncio.create_task(encoder.encode(job, StageTimings()))


def stored(arena: ArenaStore, job: ImageJob) -> torch.Tensor | None:
    """The rows as the engine would read them."""
    reader = ArenaReader(arena.path, width=WIDTH)
    entry = reader.find(job.key)
    return None if entry is None else torch.from_numpy(reader.read(entry)).view(torch.float32)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG):
        while not condition():
            await asyncio.sleep(0)


async def test_distinct_images_in_one_batch_get_their_own_rows(
    encoder: LocalEncoder, tower: FakeTower, arena: ArenaStore
) -> None:
    tower.hold()
    blocker = start(encoder, job("z"))
    await tower.busy()
    jobs = [job("a"), job("b", tiles=2), job("c")]
    tasks = [start(encoder, image) for image in jobs]
    await until(lambda: encoder.stats().waiting == 3)
    tower.release()
    leases = [await task for task in [blocker, *tasks]]
    assert tower.batches == [[1], [1, 2, 1]]
    assert [(lease.key, lease.rows) for lease in leases[1:]] == [(each.key, each.plan.rows) for each in jobs]
    for image, expected in zip(jobs, [rows_of("a"), rows_of("b", 2), rows_of("c")], strict=True):
        assert torch.equal(stored(arena, image), expected)  # type: ignore[arg-type]


async def test_only_images_that_the_tower_takes_together_share_a_batch(
    encoder: LocalEncoder, tower: FakeTower
) -> None:
    tower.hold()
    blocker = start(encoder, job("z"))
    await tower.busy()
    tasks = [start(encoder, job("a")), start(encoder, job("b", tiles=2, side=4)), start(encoder, job("c"))]
    await until(lambda: encoder.stats().waiting == 3)
    tower.release()
    await asyncio.gather(blocker, *tasks)
    assert tower.batches == [[1], [1, 1], [2]]


async def test_a_second_request_is_answered_without_decoding(
    encoder: LocalEncoder, decode: FakeDecode, tower: FakeTower
) -> None:
    first = await encoder.encode(job("a"), StageTimings())
    timings = StageTimings()
    again = await encoder.encode(job("a"), timings)
    assert (first.cached, again.cached, again.rows) == (False, True, ROWS)
    assert decode.decoded == [b"a"]
    assert tower.batches == [[1]]
    assert timings.spans == []


async def test_what_was_forgotten_is_made_anew(encoder: LocalEncoder, decode: FakeDecode) -> None:
    (await encoder.encode(job("a"), StageTimings())).release()
    encoder.forget(job("a").key)
    assert not (await encoder.encode(job("a"), StageTimings())).cached
    assert decode.decoded == [b"a", b"a"]


async def test_requests_at_the_same_time_share_one_encoding(
    encoder: LocalEncoder, decode: FakeDecode, tower: FakeTower, arena: ArenaStore
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
    encoder: LocalEncoder, decode: FakeDecode, arena: ArenaStore
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
    encoder: LocalEncoder, decode: FakeDecode, tower: FakeTower
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


async def test_queued_work_is_skipped_when_nobody_waits(encoder: LocalEncoder, tower: FakeTower) -> None:
    tower.hold()
    blocker = start(encoder, job("z"))
    await tower.busy()
    leaves, stays = start(encoder, job("a", tiles=3)), start(encoder, job("b"))
    await until(lambda: encoder.stats().waiting == 2)
    leaves.cancel()
    await asyncio.wait([leaves])
    tower.release()
    await asyncio.gather(blocker, stays)
    assert tower.batches == [[1], [1]]
    assert encoder.stats().cancelled == 1


class SlowArena(ArenaStore):
    """Its copies stand still until the test lets them go."""

    def __init__(self, path: str, spec: ArenaSpec) -> None:
        super().__init__(path, spec)
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def put(self, key: str, rows: npt.NDArray[np.uint8]) -> ArenaLease:
        self.entered.set()
        assert self.let_go.wait(HANG)
        return super().put(key, rows)


async def test_leaving_during_the_copy_holds_no_lease(
    decode: FakeDecode, tower: FakeTower, arena: ArenaStore, tmp_path: Path
) -> None:
    slow = SlowArena(str(tmp_path / "slow"), arena.spec)
    encoder = LocalEncoder(tower, decode, slow, budget=BUDGET)
    task = start(encoder, job("a"))
    assert await asyncio.to_thread(slow.entered.wait, HANG)
    task.cancel()
    await asyncio.wait([task])
    slow.let_go.set()
    await until(lambda: slow.stats().entries == 1)
    await until(lambda: slow.stats().leased_rows == 0)
    assert (await encoder.encode(job("a"), StageTimings())).cached
    await encoder.close()
    slow.close()


async def test_an_error_names_the_place_of_each_waiters_image(
    encoder: LocalEncoder, decode: FakeDecode
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


async def test_a_full_arena_is_told_with_its_waiting_time(encoder: LocalEncoder) -> None:
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
    encoder: LocalEncoder,
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
    await until(lambda: encoder.stats().waiting == 3)
    tower.release()
    with pytest.raises(EncoderFailed, match=message):
        await tasks["b"]
    await asyncio.gather(blocker, tasks["a"], tasks["c"])
    assert stored(arena, job("b")) is None
    assert torch.equal(stored(arena, job("c")), rows_of("c"))  # type: ignore[arg-type]


async def test_a_batch_that_is_too_large_for_the_memory_is_split(
    encoder: LocalEncoder, tower: FakeTower
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
    await until(lambda: encoder.stats().waiting == 2)
    tower.release()
    assert [(await task).rows for task in [blocker, *tasks]] == [ROWS, ROWS, ROWS]
    assert tower.batches == [[1], [1, 1], [1], [1]]


async def test_stages_are_timed_and_count_only_while_their_request_waits(
    decode: FakeDecode, tower: FakeTower, arena: ArenaStore
) -> None:
    now = [0.0]
    encoder = LocalEncoder(tower, decode, arena, budget=BUDGET, clock=lambda: now[0])
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
    encoder: LocalEncoder,
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
    encoder = LocalEncoder(tower, decode, arena, budget=BUDGET, clock=lambda: now[0])
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


async def test_warm_up_and_probe_run_the_largest_and_the_smallest_batch(
    encoder: LocalEncoder, tower: FakeTower, arena: ArenaStore
) -> None:
    await encoder.warm_up()
    assert await encoder.probe()
    assert tower.batches == [[BUDGET // 2], [1]]
    assert arena.stats().entries == 0


async def test_health_is_the_last_batch_and_a_probe_mends_it(encoder: LocalEncoder, tower: FakeTower) -> None:
    def fail(batch: list[torch.Tensor]) -> list[torch.Tensor]:
        raise RuntimeError("device lost")

    tower.spoil = fail
    with pytest.raises(EncoderFailed, match="RuntimeError"):
        await encoder.encode(job("a"), StageTimings())
    assert not await encoder.probe()
    await until(lambda: not encoder.healthy)
    tower.spoil = lambda rows: [rows[0].fill_(float("nan"))]
    assert not await encoder.probe()
    tower.spoil = lambda rows: rows
    assert await encoder.probe()
    await until(lambda: encoder.healthy)


async def test_close_fails_what_waits_and_leaves_no_lease(
    encoder: LocalEncoder, decode: FakeDecode, tower: FakeTower, arena: ArenaStore
) -> None:
    tower.hold()
    runs = start(encoder, job("a"))
    await tower.busy()
    waits = start(encoder, job("b"))
    await until(lambda: encoder.stats().waiting == 1)
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
    encoder = LocalEncoder(tower, decode, arena, budget=BUDGET, threads=before + 2)
    try:
        await encoder.encode(job("a"), StageTimings())
        assert tower.threads == [before + 2]
    finally:
        await encoder.close()
        torch.set_num_threads(before)


async def test_reports_its_batches(decode: FakeDecode, tower: FakeTower, arena: ArenaStore) -> None:
    batches: list[tuple[int, int]] = []
    encoder = LocalEncoder(
        tower, decode, arena, budget=BUDGET, on_batch=lambda items, cost, *_: batches.append((items, cost))
    )
    await encoder.encode(job("a", tiles=3), StageTimings())
    await encoder.close()
    assert batches == [(1, 6)]


@pytest.mark.parametrize("spec", [(4, "float32"), (WIDTH, "bfloat16")])
async def test_an_arena_for_other_rows_is_refused(
    decode: FakeDecode, tower: FakeTower, tmp_path: Path, spec: tuple[int, str]
) -> None:
    arena = ArenaStore(str(tmp_path / "other"), ArenaSpec(*spec, page_rows=4, pages=4, slots=4, max_pages=2))
    with pytest.raises(ConfigurationError, match=f"rows of {spec[0]} × {spec[1]} .* rows of 3 × float32"):
        LocalEncoder(tower, decode, arena, budget=BUDGET)
    arena.close()
