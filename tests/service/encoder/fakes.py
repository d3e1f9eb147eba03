"""A decoder and a tower that do what the test says, images for them, and how their rows are seen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from service.arena import ArenaLease, ArenaReader, ArenaStore
from service.domain import ImageBytes, ImageFormat, ImageJob, View
from service.encoder.cached import CachedEncoder
from service.errors import InvalidImage
from service.families.towers import TiledImage, TowerChoice
from service.telemetry.timeline import StageTimings
from tests.service.fakes import image_plan
from tests.waiting import DEADLOCK

WIDTH = 3
ROWS = 2
BUDGET = 8


def job(name: str, tiles: int = 1, path: str = "messages[0]", side: int = 2) -> ImageJob:
    """An image of `tiles` tiles whose pixels are all the code of its name's last letter; two patches a tile."""
    views = [View(side, side, side, side) for _ in range(tiles)]
    plan = image_plan(*views, tokens=ROWS * tiles, patches=2 * tiles)
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

    async def tiles(self, image: ImageBytes, views: Sequence[View], path: str) -> list[npt.NDArray[np.uint8]]:
        self.decoded.append(image.data)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if image.data.startswith(b"damaged"):
            raise InvalidImage("The image could not be decoded.", param=path)
        return [np.full((1, 2, 2, 3), image.data[-1], dtype=np.uint8) for _ in views]


class FakeTower:
    """Each row tells which image, tile and column it is of; `spoil` may break what comes out."""

    width = WIDTH
    choice = TowerChoice(torch.device("cpu"), torch.float32, backend="reference", body="transformers")
    constants = torch.empty(0, WIDTH)

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        """Per batch, the tiles of each image."""
        self.threads: list[int] = []
        self.entered = threading.Semaphore(0)
        self.proceed = threading.Semaphore(1000)
        self.spoil: Callable[[list[torch.Tensor]], list[torch.Tensor]] = lambda rows: rows

    def encode(self, images: Sequence[TiledImage]) -> list[torch.Tensor]:
        self.batches.append([image.tile_count for image in images])
        self.threads.append(torch.get_num_threads())
        self.entered.release()
        assert self.proceed.acquire(timeout=DEADLOCK)
        return self.spoil([rows_of(chr(int(one.tiles[0][0, 0, 0, 0])), one.tile_count) for one in images])

    def bucket(self, views: Sequence[View]) -> Hashable:
        return views[0].tile_width

    def blank(self, patches: int) -> TiledImage:
        tiles = max(1, patches // 2)
        pixels = torch.zeros(tiles, 2, 2, 3, dtype=torch.uint8)
        return TiledImage([View(2 * tiles, 2, 2, 2)], [pixels], ROWS * tiles)

    def hold(self) -> None:
        while self.proceed.acquire(blocking=False):
            pass

    def release(self) -> None:
        self.proceed.release(1000)

    async def busy(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=DEADLOCK)


def start(encoder: CachedEncoder, job: ImageJob) -> asyncio.Task[ArenaLease]:
    return asyncio.create_task(encoder.encode(job, StageTimings()))


def stored(arena: ArenaStore, job: ImageJob) -> torch.Tensor | None:
    """The rows as the engine would read them."""
    reader = ArenaReader(arena.path, width=WIDTH)
    entry = reader.find(job.key)
    return None if entry is None else torch.from_numpy(reader.read(entry)).view(torch.float32)
