"""From images to soft tokens, in this process: decode → batch → check → token map.

The tower runs on one device thread; decoding happens in separate processes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from kernels.runner import Attention, CaptureFailed, Runner, attend
from kernels.transfer import fetch
from service.domain import ImageBytes, ImageJob, TokenMap, View
from service.encoder.batcher import Batcher, BatcherStats, OnBatch
from service.encoder.threads import give_way
from service.errors import ConfigurationError, EncoderFailed
from service.families.towers import TiledImage, Tower, TowerChoice
from service.telemetry.timeline import Strand


class TileSource(Protocol):
    async def tiles(
        self, image: ImageBytes, views: Sequence[View], path: str
    ) -> Sequence[npt.NDArray[np.uint8]]:
        """Per view uint8 [n, tile_height, tile_width, 3], in memory that the caller may keep.

        Raises InvalidImage and DecoderUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Rows:
    values: torch.Tensor
    """[rows, width] on the host"""
    finite: bool


class LocalEncoder:
    """A tower in this process. Implements `service.encoder.cached.ImageEncoder`.

    `budget` is the maximum number of patches in a batch. `threads` is how many CPU threads the tower computes with,
    which give way to the engine's. With a `runner`, batches go through it; it captures its graphs in the first one,
    `warm_up`.
    """

    def __init__(
        self,
        tower: Tower,
        decode: TileSource,
        *,
        budget: int,
        threads: int | None = None,
        runner: Runner | None = None,
        attention: Attention = "auto",
        on_batch: OnBatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tower = tower
        self._runner = runner
        self._attention = attention
        self._decode = decode
        self._clock = clock
        self._patches = 0
        self._batcher = Batcher[TiledImage, _Rows](
            self._forward,
            budget=budget,
            on_batch=on_batch,
            on_start=partial(give_way, threads) if threads else None,
            clock=clock,
        )

    async def encode(self, job: ImageJob, strand: Strand) -> torch.Tensor:
        """[tokens, width] on the host. Raises InvalidImage (cannot be decoded), DecoderUnavailable, EncoderFailed."""
        self._patches += job.plan.patches
        try:
            return await self._encode(job, strand)
        finally:
            self._patches -= job.plan.patches

    @property
    def backlog(self) -> float:
        """Seconds of computing that all images need which are here, at the speed of the last batches: those that are
        being decoded, that wait, and that are on the device. 0 until a batch has run."""
        speed = self._batcher.stats().speed
        return self._patches / speed if speed else 0.0

    async def _encode(self, job: ImageJob, strand: Strand) -> torch.Tensor:
        plan = job.plan
        strand.enter("decode", self._clock())
        tiles = await self._decode.tiles(job.image, plan.views, job.path)
        # an image that is cancelled or fails on the device cannot be distinguished from one that is waiting for it
        strand.enter("encode_queue", self._clock())
        image = TiledImage(plan.views, [torch.from_numpy(view) for view in tiles], plan.tower_rows)
        reply = await self._batcher.submit(image, plan.patches, self._tower.bucket(plan.views))
        strand.enter("encode", reply.began)
        strand.enter("transfer", reply.ended)
        rows = self._checked(reply.value, plan.tower_rows)
        if plan.token_map is None:
            return rows
        return await asyncio.to_thread(mapped, rows, plan.token_map, self._tower.constants)

    @property
    def width(self) -> int:
        return self._tower.width

    @property
    def dtype(self) -> torch.dtype:
        return self._tower.choice.dtype

    @property
    def choice(self) -> TowerChoice:
        """Where and how the tower computes."""
        return self._tower.choice

    @property
    def healthy(self) -> bool:
        """Whether any image of the device's last batch succeeded."""
        return self._batcher.healthy

    def stats(self) -> BatcherStats:
        return self._batcher.stats()

    async def warm_up(self, patches: int) -> None:
        """Encodes a batch of that many patches, so that a lack of memory shows before the first request.

        Raises EncoderFailed; ConfigurationError when the device refuses what was planned for it.
        """
        await self._encode_blank(patches)

    async def probe(self) -> bool:
        """Encodes one grey tile and says whether that worked, to detect that a failed encoder has recovered."""
        try:
            await self._encode_blank(1)
        except EncoderFailed:
            return False
        return True

    async def close(self) -> None:
        """Fails waiting images, and returns once the device is idle."""
        await self._batcher.close()

    def _forward(self, images: list[TiledImage]) -> list[_Rows]:
        """On the device thread."""
        with attend(self._attention):
            if self._runner is not None:
                return _staged(self._runner, images)
            rows = self._tower.encode(images)
        flags = torch.stack([image.isfinite().all() for image in rows])
        *values, finite = fetch([*rows, flags])
        return [_Rows(image, well) for image, well in zip(values, finite.tolist(), strict=True)]

    def _checked(self, rows: _Rows, expected: int) -> torch.Tensor:
        """Rejects wrong rows, which would crash the engine."""
        shape, dtype = tuple(rows.values.shape), rows.values.dtype
        wanted = (expected, self._tower.width)
        if shape != wanted or dtype != self.dtype:
            raise EncoderFailed(
                f"The encoder made {dtype} {list(shape)} of an image that needs {self.dtype} {list(wanted)}."
            )
        if not rows.finite:
            raise EncoderFailed("The encoder made numbers of this image that are not finite.")
        return rows.values

    async def _encode_blank(self, patches: int) -> None:
        # at the full budget it shares its batch with no other image
        blank = self._tower.blank(patches)
        reply = await self._batcher.submit(blank, self._batcher.budget)
        self._checked(reply.value, blank.rows)


def mapped(rows: torch.Tensor, token_map: TokenMap, constants: torch.Tensor) -> torch.Tensor:
    """[rows, width] ++ [constants, width] → [tokens, width]; sums are computed in float32."""
    index = torch.frombuffer(token_map.index, dtype=torch.int64)
    table = torch.cat([rows, constants])
    if token_map.weights is None:
        return table.index_select(0, index)
    weights = torch.frombuffer(token_map.weights, dtype=torch.float32).view(-1, token_map.summed)
    tokens = torch.zeros(len(weights), rows.shape[1])
    for column, weight in zip(index.view_as(weights).unbind(1), weights.unbind(1), strict=True):
        tokens.addcmul_(table.index_select(0, column).float(), weight[:, None])
    return tokens.to(rows.dtype)


def _staged(runner: Runner, images: list[TiledImage]) -> list[_Rows]:
    try:
        landed = runner.run([view for image in images for view in image.tiles])
    except CaptureFailed as failure:
        raise ConfigurationError(
            f"the encoder could not be captured as CUDA graphs for up to {max(runner.graph_sizes, default=0)} tiles "
            f"({failure}): lower encoder_graph_bytes, 0 captures none; or choose encoder_copies=plain"
        ) from failure
    tiles = [image.tile_count for image in images]
    rows = len(landed.rows) // sum(tiles)  # of a tile
    parts = zip(
        torch.split(landed.rows, [rows * count for count in tiles]),
        torch.split(landed.finite, tiles),
        strict=True,
    )
    return [_Rows(values, bool(finite.all())) for values, finite in parts]
