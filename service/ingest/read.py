"""One image reference to checked bytes, from a data URL or from another server."""

from __future__ import annotations

import asyncio

from service.domain import ImageBytes, ImageRef
from service.errors import URLNotAllowed
from service.ingest.data_url import decode_data_url
from service.ingest.fetch import Fetcher
from service.ingest.probe import ImageLimits, probe
from service.telemetry.timeline import StageTimings

_OFF_LOOP = 1024**2
"""Length of a data URL above which its base64 is decoded in a thread: 27 million characters take 11 ms."""


class Ingest:
    def __init__(self, fetcher: Fetcher, limits: ImageLimits) -> None:
        self._fetcher = fetcher
        self._limits = limits

    async def read(self, ref: ImageRef, timings: StageTimings) -> ImageBytes:
        """The image's bytes with their format and displayed size. A fetch is timed as the stage `fetch`.

        Raises an ImageError with `ref.path`: InvalidDataURL, URLNotAllowed, MediaFetchFailed, ImageTooLarge,
        ImageTooSmall, ImageTooNarrow, UnsupportedImageFormat or InvalidImage.
        """
        scheme = ref.url[:6].lower()
        if scheme.startswith("data:"):
            data = await self._decode(ref)
            return probe(data, source="data", limits=self._limits, path=ref.path)
        if not scheme.startswith("http"):
            raise URLNotAllowed(
                "An image must be given as an http:// or https:// URL or as data:image/<type>;base64,<data>.",
                param=ref.path,
            )
        with timings.stage("fetch"):
            data = await self._fetcher.fetch(ref)
        return probe(data, source="url", limits=self._limits, path=ref.path)

    async def close(self) -> None:
        await self._fetcher.close()

    async def _decode(self, ref: ImageRef) -> bytes:
        if len(ref.url) <= _OFF_LOOP:
            return decode_data_url(ref.url, max_bytes=self._limits.max_bytes, path=ref.path)
        return await asyncio.to_thread(
            decode_data_url, ref.url, max_bytes=self._limits.max_bytes, path=ref.path
        )
