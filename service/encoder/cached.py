"""From images to leased soft tokens: the arena first, then one encoding for all requests with the same image.

An image in the arena is not encoded again, and one that is being encoded is not started twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch

from service.arena import ArenaLease, ArenaStore
from service.domain import ImageJob
from service.encoder.single_flight import SingleFlight
from service.errors import ConfigurationError, PatchbayError
from service.families.towers import DTYPES
from service.telemetry.timeline import StageTimings, Strand


class ImageEncoder(Protocol):
    """From images to soft tokens that are not stored yet."""

    @property
    def width(self) -> int:
        """Numbers in a soft token."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    async def encode(self, job: ImageJob, strand: Strand) -> torch.Tensor:
        """[tokens, width] on the host, in the arena's number format; enters its stages in `strand`.

        Raises InvalidImage (cannot be decoded), DecoderUnavailable, EncoderFailed.
        """
        ...

    async def close(self) -> None:
        """Fails waiting images."""
        ...


class CachedEncoder:
    """Implements `service.domain.SoftTokenEncoder`.

    Raises ConfigurationError when encoder and arena differ in width or number format.
    """

    def __init__(
        self, encoder: ImageEncoder, arena: ArenaStore, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if (encoder.width, encoder.dtype) != (arena.spec.width, DTYPES[arena.spec.dtype]):
            raise ConfigurationError(
                f"the arena holds rows of {arena.spec.width} × {arena.spec.dtype} and the tower makes rows of "
                f"{encoder.width} × {str(encoder.dtype).removeprefix('torch.')}"
            )
        self._encoder = encoder
        self._arena = arena
        self._clock = clock
        # the call's own lease keeps the entry until each waiter has a lease shared from it
        self._calls = SingleFlight[ArenaLease](discard=lambda lease: lease.release())
        self._strands = WeakValueDictionary[str, Strand]()
        """The stages of each image in progress, for as long as it is being encoded or waited for."""

    async def encode(self, job: ImageJob, timings: StageTimings) -> ArenaLease:
        """A lease on the job's soft tokens; `cached` if the arena had them before this call.

        Raises InvalidImage (cannot be decoded), DecoderUnavailable, ArenaFull, EncoderFailed, with this job's path.
        """
        if (found := self._arena.lease(job.key)) is not None:
            return found
        joined, strand = self._clock(), self._strands.get(job.key)

        def begin() -> Coroutine[Any, Any, ArenaLease]:
            nonlocal strand
            strand = self._strands[job.key] = Strand()
            return self._make(job, strand)

        try:
            async with self._calls.join(job.key, begin) as made:
                return made.share()
        except PatchbayError as error:
            raise _addressed(error, job.path) from error
        finally:
            if strand is not None:
                timings.add(*strand.spans(joined, self._clock()))  # what this request waited for

    def knows(self, key: str) -> bool:
        """Whether an image's soft tokens are in the arena, or on their way there: it would not be encoded again."""
        return key in self._arena or key in self._calls

    def forget(self, key: str) -> None:
        """Drops an entry that the engine could not read, so that the next `encode` encodes the image again."""
        self._arena.forget(key)

    async def close(self) -> None:
        """Fails waiting images, and returns when all work on images has ended."""
        await self._encoder.close()
        await self._calls.settled()

    async def _make(self, job: ImageJob, strand: Strand) -> ArenaLease:
        try:
            tokens = await self._encoder.encode(job, strand)
            return await self._put(job.key, tokens)
        finally:
            strand.leave(self._clock())

    async def _put(self, key: str, tokens: torch.Tensor) -> ArenaLease:
        raw = tokens.contiguous().view(torch.uint8).numpy()  # [tokens, row_bytes]
        put = asyncio.ensure_future(asyncio.to_thread(self._arena.put, key, raw))
        try:
            return await asyncio.shield(put)
        except asyncio.CancelledError:
            put.add_done_callback(_release)  # the copy goes on, but nobody will hold its lease
            raise


def _release(put: asyncio.Future[ArenaLease]) -> None:
    if not put.cancelled() and put.exception() is None:
        put.result().release()


def _addressed(error: PatchbayError, path: str) -> PatchbayError:
    """The error as it concerns this waiter's image: another request may have started the work."""
    own = type(error).__new__(type(error), *error.args)
    own.__dict__.update(error.__dict__)
    own.param = path
    return own
