"""Images to leased soft tokens, in this process: arena, or decode → batch → check → arena.

An image that the arena holds is not decoded again, and one that is on its way is not started twice. Knows nothing of
HTTP, of families, or of the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import torch

from kernels.blocks import Body
from kernels.runner import Attention, CaptureFailed, Runner, attend
from service.arena import ArenaLease, ArenaStore
from service.domain import ImageBytes, ImageJob, TilePlan
from service.encoder.batcher import Batcher, BatcherStats, OnBatch
from service.encoder.single_flight import Flights
from service.errors import ConfigurationError, EncoderFailed, PatchbayError
from service.families.towers import DTYPES, TiledImage, Tower
from service.telemetry.timeline import StageTimings, Strand


class TileSource(Protocol):
    async def tiles(self, image: ImageBytes, plan: TilePlan, path: str) -> Sequence[npt.NDArray[np.uint8]]:
        """Per view of the plan uint8 [n, tile_height, tile_width, 3], in memory that the caller may keep.

        Raises InvalidImage.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Rows:
    values: torch.Tensor
    """[rows, width] on the host"""
    finite: bool


class LocalEncoder:
    """Implements `service.domain.SoftTokenEncoder` with a tower in this process and one device thread.

    `budget` is the most patches in one batch; `threads` sets torch's CPU threads, for the whole process. With a
    `runner` batches go through it, which captures in the first one: `warm_up`.
    Raises ConfigurationError when tower and arena differ in width or number format.
    """

    def __init__(
        self,
        tower: Tower,
        decode: TileSource,
        arena: ArenaStore,
        *,
        budget: int,
        threads: int | None = None,
        runner: Runner | None = None,
        attention: Attention = "auto",
        on_batch: OnBatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if (tower.width, tower.dtype) != (arena.spec.width, DTYPES[arena.spec.dtype]):
            raise ConfigurationError(
                f"the arena holds rows of {arena.spec.width} × {arena.spec.dtype} and the tower makes rows of "
                f"{tower.width} × {str(tower.dtype).removeprefix('torch.')}"
            )
        self._tower = tower
        self._runner = runner
        self._attention = attention
        self._decode = decode
        self._arena = arena
        self._clock = clock
        # a flight's lease keeps the entry until each waiter has a lease of its own
        self._flights = Flights[ArenaLease](discard=lambda lease: lease.release())
        self._strands = WeakValueDictionary[str, Strand]()
        """The stages of each image on its way, for as long as somebody makes it or waits for it."""
        self._batcher = Batcher[TiledImage, _Rows](
            self._forward,
            budget=budget,
            on_batch=on_batch,
            on_start=partial(torch.set_num_threads, threads) if threads else None,
            clock=clock,
        )

    async def encode(self, job: ImageJob, timings: StageTimings) -> ArenaLease:
        """A lease on the job's soft tokens; `cached` when the arena had them before this call.

        Raises InvalidImage (cannot be decoded), ArenaFull, EncoderFailed, with the path of this job.
        """
        if (found := self._arena.lease(job.key)) is not None:
            return found
        joined, strand = self._clock(), self._strands.get(job.key)

        def depart() -> Coroutine[Any, Any, ArenaLease]:
            nonlocal strand
            strand = self._strands[job.key] = Strand()
            return self._make(job, strand)

        try:
            async with self._flights.join(job.key, depart):
                lease = self._arena.lease(job.key)
                if lease is None:
                    raise EncoderFailed("The image's soft tokens were dropped while they were handed over.")
        except PatchbayError as error:
            raise _addressed(error, job.path) from error
        finally:
            if strand is not None:
                timings.add(*strand.spans(joined, self._clock()))  # what this request waited for
        lease.cached = False
        return lease

    def forget(self, key: str) -> None:
        """Drops an entry that the engine could not read, so that the next `encode` makes it anew."""
        self._arena.forget(key)

    @property
    def backend(self) -> str:
        """The kernels' implementation that runs."""
        return self._tower.backend

    @property
    def body(self) -> Body:
        """Who runs the tower's transformer blocks."""
        return self._tower.body

    @property
    def healthy(self) -> bool:
        """Whether the device's last batch answered anybody."""
        return self._batcher.healthy

    def stats(self) -> BatcherStats:
        return self._batcher.stats()

    async def warm_up(self, patches: int) -> None:
        """Encodes a batch of that many patches, so that the first request does not pay, or fail, for its memory.

        Raises EncoderFailed; ConfigurationError when the device refuses what was planned for it.
        """
        await self._encode_blank(patches)

    async def probe(self) -> bool:
        """Encodes one grey tile and tells whether that worked: how an encoder that failed is seen to be well again."""
        try:
            await self._encode_blank(1)
        except EncoderFailed:
            return False
        return True

    async def close(self) -> None:
        """Fails what waits, and returns when the device and all work on images have come to rest."""
        await self._batcher.close()
        await self._flights.landed()

    async def _make(self, job: ImageJob, strand: Strand) -> ArenaLease:
        try:
            strand.enter("decode", self._clock())
            tiles = await self._decode.tiles(job.image, job.plan, job.path)
            # an image that is given up, or fails, on the device is not told from one that still waits for it
            strand.enter("encode_queue", self._clock())
            image = TiledImage(job.plan, [torch.from_numpy(view) for view in tiles])
            reply = await self._batcher.submit(image, job.plan.patches, self._tower.bucket(job.plan))
            strand.enter("encode", reply.began)
            strand.enter("transfer", reply.ended)
            return await self._put(job.key, self._checked(reply.value, job.plan.rows))
        finally:
            strand.leave(self._clock())

    def _forward(self, images: list[TiledImage]) -> list[_Rows]:
        """On the device thread."""
        with attend(self._attention):
            if self._runner is not None:
                return _staged(self._runner, images)
            rows = self._tower.encode(images)
        finite = torch.stack([image.isfinite().all() for image in rows]).tolist()
        return [_Rows(_on_host(image), well) for image, well in zip(rows, finite, strict=True)]

    def _checked(self, rows: _Rows, expected: int) -> torch.Tensor:
        """Wrong rows would end the engine's process, so they stop here."""
        shape, dtype = tuple(rows.values.shape), rows.values.dtype
        wanted = (expected, self._tower.width)
        if shape != wanted or dtype != self._tower.dtype:
            raise EncoderFailed(
                f"The encoder made {dtype} {list(shape)} of an image that needs {self._tower.dtype} {list(wanted)}."
            )
        if not rows.finite:
            raise EncoderFailed("The encoder made numbers of this image that are not finite.")
        return rows.values

    async def _put(self, key: str, rows: torch.Tensor) -> ArenaLease:
        raw = rows.contiguous().view(torch.uint8).numpy()  # [rows, row_bytes]
        put = asyncio.ensure_future(asyncio.to_thread(self._arena.put, key, raw))
        try:
            return await asyncio.shield(put)
        except asyncio.CancelledError:
            put.add_done_callback(_release)  # the copy goes on, and nobody will hold its lease
            raise

    async def _encode_blank(self, patches: int) -> None:
        # at the full budget it shares its batch with nobody
        blank = self._tower.blank(patches)
        reply = await self._batcher.submit(blank, self._batcher.budget)
        self._checked(reply.value, blank.plan.rows)


def _on_host(rows: torch.Tensor) -> torch.Tensor:
    """From a GPU into pinned memory, which torch keeps for the next."""
    if rows.device.type == "cpu":
        return rows
    return torch.empty_like(rows, device="cpu", pin_memory=True).copy_(rows)


def _staged(runner: Runner, images: list[TiledImage]) -> list[_Rows]:
    try:
        landed = runner.run([view for image in images for view in image.views])
    except CaptureFailed as failure:
        raise ConfigurationError(
            f"the encoder could not be captured as CUDA graphs for up to {max(runner.rungs, default=0)} tiles "
            f"({failure}): lower encoder_graph_bytes, 0 captures none; or choose encoder_copies=plain"
        ) from failure
    tiles = [image.tiles for image in images]
    rows = len(landed.rows) // sum(tiles)  # of a tile
    parts = zip(
        torch.split(landed.rows, [rows * count for count in tiles]),
        torch.split(landed.finite, tiles),
        strict=True,
    )
    return [_Rows(values, bool(finite.all())) for values, finite in parts]


def _release(put: asyncio.Future[ArenaLease]) -> None:
    if not put.cancelled() and put.exception() is None:
        put.result().release()


def _addressed(error: PatchbayError, path: str) -> PatchbayError:
    """The error as it concerns this waiter's image: another request may have started the work."""
    own = type(error).__new__(type(error), *error.args)
    own.__dict__.update(error.__dict__)
    own.param = path
    return own
