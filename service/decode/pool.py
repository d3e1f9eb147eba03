"""Encoded images to tiles in a fixed number of sandboxed processes, for asyncio.

Each process decodes one image at a time. Small images overtake large ones, within bounds, and large ones never occupy
all processes where there are two or more. A caller may leave while it waits. A worker that dies costs no image: each is
tried once more, on a new one. No torch here: the workers import it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from service.decode.deadline_queue import DeadlineQueue
from service.decode.forkserver import CannotStart, ForkServer, WorkerSpec
from service.decode.process import DecodeFailed, DecodeProcess, Refused, Tiles, TookTooLong, WorkerLost
from service.domain import ImageBytes, View
from service.errors import ConfigurationError, DecoderUnavailable, EncoderFailed, InvalidImage, PatchbayError

_ABANDONED_SECONDS = 0.5
"""A decoding that nobody waits for any more is killed after this long, unless it has ended by itself."""
_PATIENCE = 100e-9
"""Seconds for which an image lets others pass, per pixel or byte: many times what decoding and cutting one pixel takes,
and about what reading one byte takes of a file that was made to be slow."""
_LARGE = 4_000_000
"""Images of more pixels or bytes never occupy the last process."""
_RETRY_AFTER = 2.0
"""Seconds in which a new fork server has loaded its libraries."""

log = logging.getLogger(__name__)


class _Closed(Exception):
    """The pool was closed before the image had its turn."""


class DecodePool:
    def __init__(
        self,
        workers: int,
        max_tile_bytes: int,
        timeout: float = 10.0,
        max_pixels: int = 50_000_000,
        *,
        startup_timeout: float = 120.0,
    ) -> None:
        """`max_tile_bytes`: tiles of the largest plan, 3 bytes a pixel. `timeout`: seconds for one image.

        Raises ValueError for numbers below one.
        """
        if min(workers, max_tile_bytes, max_pixels) < 1 or timeout <= 0:
            raise ValueError("workers, max_tile_bytes, timeout and max_pixels must be positive")
        self._spec = WorkerSpec(max_pixels, max_tile_bytes, timeout, startup_timeout)
        self._server = ForkServer(self._spec)
        self._workers = [DecodeProcess(self._spec, self._server) for _ in range(workers)]
        # the fork server dies with the thread that started it: these live as long as the pool
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        reserved = 1 if workers > 1 else 0
        self._queue = DeadlineQueue(self._workers, short=_PATIENCE * _LARGE, reserved=reserved)
        self._closed = False
        self.busy = 0
        """Workers that have an image now."""
        self.losses = 0
        """Times that a worker died or stood still while it had an image, or could not be started for one."""

    async def start(self) -> None:
        """Starts all workers, so that no image waits for one. Raises ConfigurationError when one does not start."""
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._threads, worker.start) for worker in self._workers]
        for outcome in await asyncio.gather(*jobs, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise ConfigurationError(
                    "The decoding processes do not start; what they printed is above."
                ) from outcome

    async def tiles(self, image: ImageBytes, views: Sequence[View], path: str) -> Tiles:
        """The tiles of each view, uint8 [n, tile_h, tile_w, 3], in memory of their own.

        Raises InvalidImage with `path` when the bytes cannot be decoded, DecoderUnavailable when two workers were lost
        over them, EncoderFailed when the pool closes, and ValueError for views that need more than `max_tile_bytes`.
        """
        if (size := sum(view.tile_bytes for view in views)) > self._spec.tile_bytes:
            raise ValueError(f"the tiles have {size} bytes and max_tile_bytes is {self._spec.tile_bytes}")
        try:
            try:
                return await self._turn(image, views)
            except (CannotStart, WorkerLost) as error:
                self._lost(error)
            try:
                return await self._turn(image, views, fresh=True)
            except (CannotStart, WorkerLost) as error:
                self._lost(error)
                raise
        except (CannotStart, WorkerLost, DecodeFailed, _Closed) as error:
            raise self._error_for(error, path) from None

    async def _turn(self, image: ImageBytes, views: Sequence[View], *, fresh: bool = False) -> Tiles:
        """One try, with a worker that nobody had before where it is to be `fresh`."""
        # few pixels in many bytes are no small image: chunks and segments without end take as long
        size = max(image.width * image.height, len(image.data))
        worker = await self._queue.acquire(_PATIENCE * size)
        if self._closed:
            self._queue.release(worker)
            raise _Closed
        return await self._run(worker, image, views, fresh=fresh)

    async def _run(
        self, worker: DecodeProcess, image: ImageBytes, views: Sequence[View], *, fresh: bool
    ) -> Tiles:
        loop = asyncio.get_running_loop()

        def work() -> Tiles:
            if fresh:
                worker.bury()
            return worker.tiles(image, views)

        job = loop.run_in_executor(self._threads, work)
        self.busy += 1

        def done(job: asyncio.Future[Tiles]) -> None:
            self.busy -= 1
            if not job.cancelled():
                job.exception()  # retrieved, even if the caller has left
            self._queue.release(worker)

        job.add_done_callback(done)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            loop.call_later(_ABANDONED_SECONDS, lambda: None if job.done() else worker.kill())
            raise

    def close(self) -> None:
        """Ends all processes; images in progress fail with EncoderFailed."""
        self._closed = True
        self._server.close()
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.close()

    def _lost(self, error: Exception) -> None:
        """Counts it, and tells the operator, unless the pool itself ends its workers."""
        if not self._closed:
            self.losses += 1
            log.warning("%s while an image needed it", error)

    def _error_for(self, error: Exception, path: str) -> PatchbayError:
        match error:
            case _ if self._closed:
                return EncoderFailed("The decoder is shutting down.", param=path)
            case CannotStart() | WorkerLost():
                return DecoderUnavailable(
                    "The image could not be decoded because the server's decoding processes failed twice; the image is "
                    "not to blame. Try again.",
                    retry_after=_RETRY_AFTER,
                    param=path,
                )
            case TookTooLong():
                text = (
                    f"The image takes longer than {self._spec.timeout:g} seconds to decode (decode_timeout)."
                )
            case Refused(cause=cause):
                text = cause.sentence
            case _:
                raise TypeError(f"unknown outcome {error!r}")
        return InvalidImage(text, param=path)
