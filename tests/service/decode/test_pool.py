"""The pool with its real workers: right tiles, one fault ends one image, and nothing is left behind."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from service.decode import DecodePool
from service.decode.causes import Cause
from service.decode.forkserver import Worker
from service.decode.pixels import decode
from service.decode.process import DecodeProcess, Tiles, WorkerLost, _used
from service.decode.tiling import cut
from service.domain import ImageBytes, ImageFormat, View
from service.errors import ConfigurationError, DecoderUnavailable, EncoderFailed, InvalidImage
from tests.waiting import DEADLOCK, until

pytestmark = pytest.mark.anyio

PATH = "messages[0].content[1].image_url.url"
VIEWS = (View(96, 64, 32, 32), View(32, 32, 32, 32))
TILE_BYTES = 7 * 32 * 32 * 3
MAX_PIXELS = 9_000_000


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[DecodePool]:
    workers = DecodePool(2, TILE_BYTES, timeout=DEADLOCK, max_pixels=MAX_PIXELS)
    await workers.start()
    yield workers
    workers.close()


@pytest.fixture(scope="module")
async def one_worker() -> AsyncIterator[DecodePool]:
    worker = DecodePool(1, TILE_BYTES, timeout=DEADLOCK, max_pixels=MAX_PIXELS)
    yield worker
    worker.close()


@pytest.fixture
async def lone(one_worker: DecodePool) -> DecodePool:
    """A single worker, ready, so that a second image must wait; tests may kill it."""
    await one_worker.start()
    return one_worker


def picture(seed: int = 0, width: int = 200, height: int = 120) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height))


def image_bytes(image: Image.Image, kind: str = "PNG", **options: Any) -> ImageBytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return ImageBytes(file.getvalue(), ImageFormat[kind], *image.size, source="data")


def expected(image: ImageBytes, views: Sequence[View] = VIEWS) -> list[np.ndarray]:
    pixels = torch.from_numpy(decode(image.data, image.width, image.height).copy())
    return [tiles.numpy() for tiles in cut(pixels, views)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def pids(pool: DecodePool) -> list[int]:
    return [worker._worker.pid for worker in pool._workers if worker._worker is not None]


def unread(pool: DecodePool) -> int:
    """Bytes that lie in the pipe to the first worker."""
    assert pool._workers[0]._worker is not None
    buffer = bytearray(4)
    fcntl.ioctl(pool._workers[0]._worker.requests, termios.FIONREAD, buffer)
    return int.from_bytes(buffer, sys.byteorder)


def gone(pid: int) -> bool:
    """Whether it has ended, even if nobody has asked for its status yet."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended, _, _ = select.select([process], [], [], 0)
    os.close(process)
    return bool(ended)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "1"),
     ("PNG", "LA"), ("PNG", "I;16"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("GIF", "P")],
)  # fmt: skip
async def test_tiles_are_what_the_pure_functions_make(pool: DecodePool, kind: str, mode: str) -> None:
    image = image_bytes(picture().convert(mode if mode != "I;16" else "L").convert(mode), kind)
    tiles = await pool.tiles(image, VIEWS, PATH)
    assert [view.shape for view in tiles] == [(6, 32, 32, 3), (1, 32, 32, 3)]
    assert all(view.dtype == np.uint8 for view in tiles)
    assert same(tiles, expected(image))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 2), (3, 3), (3000, 1)])
async def test_tiny_and_thin_images_are_images(pool: DecodePool, size: tuple[int, int]) -> None:
    image = image_bytes(Image.new("RGB", size, (9, 99, 199)))
    for view in await pool.tiles(image, VIEWS, PATH):
        assert (view == [9, 99, 199]).all()


@pytest.mark.parametrize("orientation", [1, 6])
async def test_large_photographs_are_cut_where_they_lie(pool: DecodePool, orientation: int) -> None:
    """Twice, as the second meets the first one's memory."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for seed in (1, 2):
        photo = picture(seed, 3200, 2704)
        image = image_bytes(photo, "JPEG", exif=exif.tobytes())
        if orientation == 6:
            image = replace(image, width=2704, height=3200)
        decoded = Image.open(io.BytesIO(image.data))
        upright = decoded.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else decoded
        expected = cut(torch.from_numpy(np.array(upright)), VIEWS)
        for ours, theirs in zip(await pool.tiles(image, VIEWS, PATH), expected, strict=True):
            assert np.array_equal(ours, theirs.numpy())


async def test_animations_of_many_frames_cost_one(pool: DecodePool) -> None:
    frames = [Image.new("P", (40, 40), number % 256) for number in range(600)]
    image = image_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert same(await pool.tiles(image, VIEWS, PATH), expected(image))


async def test_images_at_once_do_not_mix_and_their_tiles_are_their_own(pool: DecodePool) -> None:
    images = [image_bytes(picture(seed), "JPEG") for seed in range(24)]
    results = await asyncio.gather(*(pool.tiles(image, VIEWS, PATH) for image in images))
    for image, tiles in zip(images, results, strict=True):
        assert same(tiles, expected(image))
    before = results[0][0].copy()
    results[1][0][:] = 0
    await pool.tiles(images[2], VIEWS, PATH)
    assert np.array_equal(results[0][0], before)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(*chunks: bytes, behind: bool = False) -> bytes:
    plain = image_bytes(picture(), "PNG").data
    place = len(plain) - 12 if behind else 33
    return plain[:place] + b"".join(chunks) + plain[place:]


def jpeg_of_many_scans() -> bytes:
    data = image_bytes(picture(), "JPEG", progressive=True).data
    begin = data.rindex(b"\xff\xda")
    return data[:begin] + data[begin:-2] * 100 + data[-2:]


CORRUPT = [
    (image_bytes(picture(), "JPEG").data[:2000], Cause.INCOMPLETE),
    (image_bytes(picture(), "PNG").data[:2000], Cause.INCOMPLETE),
    (image_bytes(picture(), "PNG").data[:33], Cause.INCOMPLETE),
    (image_bytes(picture(), "WEBP").data[:500], Cause.DAMAGED),
    (image_bytes(picture().convert("P"), "GIF").data[:2000], Cause.INCOMPLETE),
    (image_bytes(picture(), "PNG").data.replace(b"IDAT", b"IDAT\xff\xff\xff"), Cause.DAMAGED),
    (png_with(png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20 + 1)))), Cause.TEXT),
    (png_with(png_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**20 + 1)))), Cause.TEXT),
    (png_with(*[png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20)))] * 65), Cause.TEXT),
    (png_with(png_chunk(b"acTL", struct.pack(">II", 2, 0)), png_chunk(b"fdAT", bytes(9))), Cause.ANIMATION),
    (png_with(png_chunk(b"fdAT", bytes(9)), behind=True), Cause.ANIMATION),
    (png_with(png_chunk(b"gAMA", b"")), Cause.CHUNK),
    (jpeg_of_many_scans(), Cause.SCANS),
    (image_bytes(picture(1, 104, 64), "PNG").data, Cause.SIZE),
    (b"\xff\xd8\xff" + bytes(100), Cause.DAMAGED),
    (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), Cause.DAMAGED),
    (b"", Cause.DAMAGED),
]


@pytest.mark.parametrize(("data", "cause"), CORRUPT, ids=range(len(CORRUPT)))
async def test_damaged_data_fails_in_our_words_and_costs_no_worker(
    pool: DecodePool, capfd: pytest.CaptureFixture[str], data: bytes, cause: Cause
) -> None:
    before = pids(pool)
    with pytest.raises(InvalidImage) as caught:
        await pool.tiles(ImageBytes(data, ImageFormat.PNG, 200, 120, "data"), VIEWS, PATH)
    assert caught.value.message == cause.sentence
    assert caught.value.param == PATH
    assert caught.value.__cause__ is None
    assert pids(pool) == before
    assert not re.search("0x[0-9a-f]{6,}|PIL|Error", "".join(capfd.readouterr()))


async def test_a_worker_that_was_taken_over_can_only_choose_among_our_words(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = DecodeProcess._receive

    def twisted(process: DecodeProcess, worker: Worker, deadline: float) -> str:
        return receive(process, worker, deadline).replace("done", "buy at http://example.com")

    monkeypatch.setattr(DecodeProcess, "_receive", twisted)
    with pytest.raises(InvalidImage) as caught:
        await pool.tiles(image_bytes(picture()), VIEWS, PATH)
    assert caught.value.message == Cause.DAMAGED.sentence


async def test_more_pixels_than_allowed_are_not_decoded_whatever_the_caller_says(pool: DecodePool) -> None:
    image = image_bytes(Image.new("1", (3001, 3000)))
    with pytest.raises(InvalidImage):
        await pool.tiles(image, VIEWS, PATH)


async def test_the_largest_allowed_image_of_the_hungriest_kind_fits_the_memory(pool: DecodePool) -> None:
    image = image_bytes(Image.new("RGBA", (3000, 3000), (1, 2, 3, 255)), "WEBP", lossless=True, method=0)
    (tiles, _) = await pool.tiles(image, VIEWS, PATH)
    assert (tiles == [1, 2, 3]).all()


def hasty_once(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images have 0.3 seconds until a worker was lost, then as long as they need."""
    patient, hasty, count = pool._spec, replace(pool._spec, timeout=0.3), pool._lost

    def lost(error: Exception) -> None:
        pool._workers[0]._spec = patient
        count(error)

    for holder in (pool, pool._workers[0]):
        monkeypatch.setattr(holder, "_spec", hasty)
    monkeypatch.setattr(pool, "_lost", lost)


async def test_an_image_that_takes_too_long_is_ended_and_the_worker_replaced(
    lone: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker stands still, so that no machine is fast enough; its clock says that it computed for all that time."""
    (pid,) = pids(lone)
    os.kill(pid, signal.SIGSTOP)
    hasty_once(lone, monkeypatch)
    readings = iter((5.0, 5.2))
    monkeypatch.setattr(Worker, "processor_seconds", lambda worker: next(readings))
    before = lone.losses
    with pytest.raises(InvalidImage, match=r"longer than 0\.3 seconds .*decode_timeout") as caught:
        await lone.tiles(image_bytes(picture()), VIEWS, PATH)
    assert caught.value.param == PATH
    await until(lambda: gone(pid))
    assert pids(lone) == []
    assert lone.losses == before


async def test_a_worker_is_busy_while_it_has_an_image(lone: DecodePool) -> None:
    (pid,) = pids(lone)
    os.kill(pid, signal.SIGSTOP)
    waiting = asyncio.create_task(lone.tiles(image_bytes(picture()), VIEWS, PATH))
    await until(lambda: lone.busy == 1)
    os.kill(pid, signal.SIGCONT)
    await waiting
    await until(lambda: lone.busy == 0)


async def test_a_worker_that_was_stopped_is_not_the_images_fault(
    lone: DecodePool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (pid,) = pids(lone)
    os.kill(pid, signal.SIGSTOP)
    hasty_once(lone, monkeypatch)
    before = lone.losses
    image = image_bytes(picture())
    assert same(await lone.tiles(image, VIEWS, PATH), expected(image))
    assert gone(pid) and pids(lone) != [pid]
    assert lone.losses == before + 1
    assert caplog.messages == ["a decoding process stood still while an image needed it"]


async def test_a_worker_tells_how_much_it_computed(lone: DecodePool) -> None:
    worker = lone._workers[0]._worker
    assert worker is not None
    before = worker.processor_seconds()
    await lone.tiles(image_bytes(picture(1, 3000, 2400)), VIEWS, PATH)
    assert 0 < before < worker.processor_seconds()
    os.kill(worker.pid, signal.SIGKILL)
    await until(lambda: gone(worker.pid))
    assert _used(worker) == 0


async def test_a_worker_that_dies_over_an_image_is_replaced_and_the_image_tried_again(
    lone: DecodePool,
) -> None:
    (pid,) = pids(lone)
    before = lone.losses
    os.kill(pid, signal.SIGSTOP)
    image = image_bytes(picture())
    task = asyncio.ensure_future(lone.tiles(image, VIEWS, PATH))
    await until(lambda: unread(lone) > 0)
    os.kill(pid, signal.SIGKILL)
    assert same(await task, expected(image))
    assert pids(lone) != [pid]
    assert lone.losses == before + 1


async def test_two_deaths_are_the_servers_fault_and_the_next_image_gets_a_new_worker(
    lone: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, before = DecodeProcess.start, lone.losses

    def stillborn(process: DecodeProcess) -> Worker:
        worker = start(process)
        worker.kill()
        worker.ended(None)
        return worker

    image = image_bytes(picture())
    with monkeypatch.context() as patched:
        patched.setattr(DecodeProcess, "start", stillborn)
        with pytest.raises(DecoderUnavailable, match="image is not to blame") as caught:
            await lone.tiles(image, VIEWS, PATH)
    assert caught.value.param == PATH and caught.value.retry_after > 0
    assert lone.losses == before + 2
    assert same(await lone.tiles(image, VIEWS, PATH), expected(image))


async def test_the_second_try_has_a_worker_that_nobody_had(
    lone: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[Worker | None] = []

    def losing(process: DecodeProcess, image: ImageBytes, views: Sequence[View]) -> Tiles:
        met.append(process._worker)
        raise WorkerLost("gone")

    monkeypatch.setattr(DecodeProcess, "tiles", losing)
    with pytest.raises(DecoderUnavailable):
        await lone.tiles(image_bytes(picture()), VIEWS, PATH)
    assert met[0] is not None and met[1:] == [None]


@pytest.mark.parametrize("wait", [True, False], ids=["noticed", "at-once"])
async def test_a_worker_that_died_between_images_costs_nobody_an_image(lone: DecodePool, wait: bool) -> None:
    (pid,) = pids(lone)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not wait or gone(pid))
    image = image_bytes(picture())
    assert same(await lone.tiles(image, VIEWS, PATH), expected(image))


@pytest.mark.parametrize("wait", [True, False], ids=["noticed", "at-once"])
async def test_a_fork_server_that_died_is_started_again(lone: DecodePool, wait: bool) -> None:
    (pid,) = pids(lone)
    assert lone._server._process is not None
    lone._server._process.kill()
    await until(lambda: not wait or gone(pid))
    image = image_bytes(picture())
    assert same(await lone.tiles(image, VIEWS, PATH), expected(image))


async def test_a_fork_server_that_stands_still_is_replaced(lone: DecodePool) -> None:
    (pid,) = pids(lone)
    server, control = lone._server._process, lone._server._control
    assert server is not None and control is not None
    server.send_signal(signal.SIGSTOP)
    control.settimeout(0.05)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: gone(pid))
    image, before = image_bytes(picture()), lone.losses
    assert same(await lone.tiles(image, VIEWS, PATH), expected(image))
    assert lone._server._process is not server
    assert lone.losses == before, "that is no try of the image's"


async def test_no_descriptors_are_left_behind_by_workers_that_were_replaced(lone: DecodePool) -> None:
    image, counts = image_bytes(picture()), []
    for _ in range(3):
        (pid,) = pids(lone)
        lone._workers[0].kill()
        await until(lambda pid=pid: gone(pid))
        await lone.tiles(image, VIEWS, PATH)
        counts.append(len(os.listdir("/proc/self/fd")))
    assert len(set(counts)) == 1


@pytest.mark.parametrize(("widths", "size"), [((2101, 2102), 1000), ((91, 92), 4_000_001)])
async def test_large_images_never_hold_all_workers(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch, widths: tuple[int, int], size: int
) -> None:
    """Two of them, large in pixels or in bytes, wait for one worker until a small one, which came last, has used the
    other."""
    ended, small_ended = [], threading.Event()

    def slow(worker: DecodeProcess, image: ImageBytes, views: Sequence[View]) -> Tiles:
        if image.width in widths:
            assert small_ended.wait(DEADLOCK)
        ended.append(image.width)
        return []

    monkeypatch.setattr(DecodeProcess, "tiles", slow)
    plain = image_bytes(picture())
    large = [replace(plain, width=width, height=width, data=bytes(size)) for width in widths]
    images = [*large, replace(plain, width=90, height=90)]
    asked = [asyncio.create_task(pool.tiles(image, VIEWS, PATH)) for image in images]
    await asked[-1]
    assert ended == [90]
    small_ended.set()
    await asyncio.gather(*asked)
    assert ended == [90, *widths]


async def test_who_leaves_the_queue_frees_its_turn(lone: DecodePool) -> None:
    (pid,) = pids(lone)
    os.kill(pid, signal.SIGSTOP)
    images = [image_bytes(picture(seed)) for seed in range(4)]
    tasks = [asyncio.ensure_future(lone.tiles(image, VIEWS, PATH)) for image in images]
    await until(lambda: unread(lone) > 0)
    for leaving in (tasks[1], tasks[2]):
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    os.kill(pid, signal.SIGCONT)
    assert same(await tasks[0], expected(images[0]))
    assert same(await tasks[3], expected(images[3]))
    assert pids(lone) == [pid]


async def test_a_decoding_that_nobody_waits_for_is_ended(lone: DecodePool) -> None:
    (pid,) = pids(lone)
    os.kill(pid, signal.SIGSTOP)
    image = image_bytes(picture())
    task = asyncio.ensure_future(lone.tiles(image, VIEWS, PATH))
    await until(lambda: unread(lone) > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert same(await lone.tiles(image, VIEWS, PATH), expected(image))
    await until(lambda: gone(pid))


async def test_closing_ends_every_process_and_fails_who_waits() -> None:
    pool = DecodePool(1, TILE_BYTES, timeout=DEADLOCK, max_pixels=MAX_PIXELS)
    await pool.start()
    before = pids(pool)
    os.kill(before[0], signal.SIGSTOP)
    tasks = [asyncio.ensure_future(pool.tiles(image_bytes(picture(seed)), VIEWS, PATH)) for seed in range(4)]
    await until(lambda: unread(pool) > 0)
    pool.close()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, EncoderFailed) and outcome.param == PATH
    await until(lambda: all(gone(pid) for pid in before))
    with pytest.raises(EncoderFailed, match="shutting down"):
        await pool.tiles(image_bytes(picture()), VIEWS, PATH)


async def test_workers_that_do_not_start_are_a_fault_of_the_machine_not_of_the_image() -> None:
    pool = DecodePool(1, TILE_BYTES, timeout=DEADLOCK, max_pixels=MAX_PIXELS, startup_timeout=0.0)
    with pytest.raises(ConfigurationError, match="do not start"):
        await pool.start()
    with pytest.raises(DecoderUnavailable, match="not to blame") as caught:
        await pool.tiles(image_bytes(picture()), VIEWS, PATH)
    assert caught.value.param == PATH
    pool.close()


async def test_views_larger_than_the_shared_memory_is_the_callers_error(pool: DecodePool) -> None:
    large = [View(96, 96, 32, 32)]
    with pytest.raises(ValueError, match="max_tile_bytes"):
        await pool.tiles(image_bytes(picture()), large, PATH)


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0), (1, 1, 0.0), (1, 1, 1.0, 0)])
def test_impossible_numbers_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        DecodePool(*arguments)


async def test_workers_inherit_no_environment_and_no_room_for_one_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[dict[str, str]] = []

    def full(*_: Any, **options: Any) -> None:
        given.append(options["env"])
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setenv("PATCHBAY_API_KEYS", "secret")
    monkeypatch.setattr(subprocess, "Popen", full)
    pool = DecodePool(1, TILE_BYTES)
    with pytest.raises(DecoderUnavailable):
        await pool.tiles(image_bytes(picture()), VIEWS, PATH)
    pool.close()
    assert [set(env) for env in given] == [
        {"PYTHONPATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LANG"}
    ] * 2


def test_workers_end_with_a_parent_that_was_killed() -> None:
    program = """
import asyncio, os, sys
from service.decode import DecodePool

async def main():
    pool = DecodePool(1, 3072)
    await pool.start()
    print(pool._workers[0]._worker.pid, flush=True)
    sys.stdin.read()

asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    waiting = select.poll()
    waiting.register(worker, select.POLLIN)
    assert waiting.poll(1000 * DEADLOCK)
    os.close(worker)


def test_the_gateway_side_imports_no_torch() -> None:
    modules = (
        "service.decode.pool, service.ingest, service.families, service.pipeline.placeholders, "
        "service.image_header"
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
