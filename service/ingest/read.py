"""One image reference to checked bytes, from a data URL or from another server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from service.domain import ImageBytes, ImageRef
from service.errors import ImageTooLarge, URLNotAllowed
from service.ingest.budget import RequestBudget, RequestLimits
from service.ingest.data_url import decode_beginning, decode_data_url
from service.ingest.fetch import Enough, Fetcher
from service.ingest.guard import named_host
from service.ingest.probe import ImageLimits, probe, says_all
from service.telemetry.timeline import StageTimings

_OFF_LOOP = 1024**2
"""Length of a data URL above which its base64 is decoded in a thread: 27 million characters take 11 ms."""


class Ingest:
    def __init__(
        self,
        fetcher: Fetcher,
        limits: ImageLimits,
        together: RequestLimits | None = None,
        *,
        tell_hosts: bool = False,
    ) -> None:
        """`limits` are on each image, `together` on all images of a request. With `tell_hosts`, the stage `fetch` has
        the host of the image's URL."""
        self._fetcher = fetcher
        self._limits = limits
        self._together = together or RequestLimits()
        self._tell_hosts = tell_hosts

    def budget(self) -> RequestBudget:
        """A new one, for one request."""
        return RequestBudget(self._together)

    async def read(
        self, ref: ImageRef, timings: StageTimings, budget: RequestBudget, *, caller: str = ""
    ) -> ImageBytes:
        """The image's bytes with their format and displayed size. A fetch is timed as the stage `fetch`; the bytes are
        counted against the request's `budget`. `caller` is the name of the key that asks.

        Raises an ImageError with `ref.path`: InvalidDataURL, URLNotAllowed, MediaFetchFailed, ImageTooLarge,
        ImageTooSmall, ImageTooNarrow, UnsupportedImageFormat or InvalidImage.
        """
        return await self._read(ref, timings, budget, None, caller)

    async def measure(
        self, ref: ImageRef, timings: StageTimings, budget: RequestBudget, *, caller: str = ""
    ) -> ImageBytes:
        """The same without the bytes; no more is fetched or decoded than tells the size.

        That is the beginning of a JPEG, a GIF, or a WebP without metadata; a PNG may say at its end how it is turned.
        Raises what `read` raises, as far as what was looked at shows it. Of a data URL all bytes count against the
        `budget`, of another those that were fetched.
        """
        return replace(await self._read(ref, timings, budget, says_all, caller), data=b"")

    async def close(self) -> None:
        await self._fetcher.close()

    async def _read(
        self, ref: ImageRef, timings: StageTimings, budget: RequestBudget, enough: Enough | None, caller: str
    ) -> ImageBytes:
        scheme = ref.url[:6].lower()
        if scheme.startswith("data:"):
            data = (enough and self._decode_enough(ref, budget, enough)) or await self._decode(ref, budget)
            return probe(data, source="data", limits=self._limits, path=ref.path)
        if not scheme.startswith("http"):
            raise URLNotAllowed(
                "An image must be given as an http:// or https:// URL or as data:image/<type>;base64,<data>.",
                param=ref.path,
            )
        with timings.stage("fetch", named_host(ref.url) if self._tell_hosts else ""):
            data = await self._fetcher.fetch(ref, budget.take_bytes, enough, caller=caller)
        return probe(data, source="url", limits=self._limits, path=ref.path)

    async def _decode(self, ref: ImageRef, budget: RequestBudget) -> bytes:
        limit, path = self._limits.max_bytes, ref.path
        if len(ref.url) <= _OFF_LOOP:
            data = decode_data_url(ref.url, max_bytes=limit, path=path)
        else:
            data = await asyncio.to_thread(decode_data_url, ref.url, max_bytes=limit, path=path)
        _take(budget, len(data), path)
        return data

    def _decode_enough(self, ref: ImageRef, budget: RequestBudget, enough: Enough) -> bytes | None:
        """The beginning of a data URL's file, if that is enough."""
        begun = decode_beginning(ref.url, max_bytes=self._limits.max_bytes, path=ref.path)
        if begun is None or not enough(begun[0]):
            return None
        data, size = begun
        _take(budget, size, ref.path)
        return data


def _take(budget: RequestBudget, count: int, path: str) -> None:
    try:
        budget.take_bytes(count)
    except ImageTooLarge as error:
        error.param = path
        raise
