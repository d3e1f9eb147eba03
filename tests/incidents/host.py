"""A host of pictures on loopback, as fast or as slow as it is told to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ImageHost:
    """Answers every request with the same picture, `delay` seconds after it; None: never."""

    def __init__(self, picture: bytes) -> None:
        self._picture = picture
        self.delay: float | None = 0.0
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if self.delay is None:
                await reader.read()  # until the other side gives up
                return
            await asyncio.sleep(self.delay)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % len(self._picture) + self._picture)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def hosting(picture: bytes) -> AsyncIterator[ImageHost]:
    host = ImageHost(picture)
    async with await asyncio.start_server(host._serve, "127.0.0.1", 0) as server:
        host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield host
