"""Image URLs to bytes: the only connections that Patchbay makes to addresses chosen by clients.

Every hop is checked by the guard; total time, size and minimum speed are limited; the text of the other server's
answers never reaches the client.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from service.domain import ImageRef
from service.errors import ImageError, ImageTooLarge, MediaFetchFailed, URLNotAllowed
from service.ingest.guard import GuardedResolver, Lookup, ParsedURL, URLPolicy, check_url, follow

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"User-Agent": "patchbay", "Accept": "image/*", "Accept-Encoding": "identity"}
_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Times in seconds."""

    max_bytes: int = 20 * 1024**2
    timeout: float = 10.0
    """For one image in total, including name lookup and redirects."""
    connect_timeout: float = 5.0
    redirects: int = 3
    slow_grace: float = 3.0
    """How far a body may lag behind `min_rate`."""
    min_rate: float = 16 * 1024
    """Bytes per second. A slower server is abandoned, so that it cannot occupy a request slot until the timeout."""
    connections: int = 64
    connections_per_host: int = 16


class Fetcher:
    """Fetches images. Needs a running event loop from the first fetch on, and `close` at the end."""

    def __init__(
        self, policy: URLPolicy, limits: FetchLimits, *, lookup: Lookup = socket.getaddrinfo
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._resolver = GuardedResolver(policy, lookup)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, ref: ImageRef, take_bytes: Callable[[int], None] = lambda count: None) -> bytes:
        """The body behind `ref.url`; `take_bytes` is told of its bytes as they come, and may raise an ImageError.

        Raises URLNotAllowed, MediaFetchFailed and ImageTooLarge, all with `ref.path`.
        """
        url = check_url(ref.url, self._policy, ref.path)
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await self._follow(url, ref.path, take_bytes)
        except ImageError as error:
            error.param = ref.path  # the resolver does not know it
            raise
        # aiohttp's connect timeout is a TimeoutError too, so its errors come first
        except aiohttp.ClientError as error:
            raise MediaFetchFailed(_failure(error), param=ref.path) from None
        except TimeoutError:
            raise MediaFetchFailed(
                f"The image was not delivered within {self._limits.timeout:g} seconds (fetch_timeout).",
                param=ref.path,
            ) from None
        except (OSError, ValueError) as error:
            raise MediaFetchFailed(_failure(error), param=ref.path) from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def _follow(self, url: ParsedURL, path: str, take_bytes: Callable[[int], None]) -> bytes:
        for _ in range(self._limits.redirects + 1):
            async with self._open().get(url.url, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if location is None or response.status not in _REDIRECTS:
                    return await self._body(response, take_bytes)
                url = follow(location, url, self._policy, path)
        raise URLNotAllowed(
            f"The image URL redirects more than {self._limits.redirects} times (fetch_redirects)."
        )

    async def _body(self, response: aiohttp.ClientResponse, take_bytes: Callable[[int], None]) -> bytes:
        if response.status != 200:
            raise MediaFetchFailed(f"The image's server answered with a {response.status // 100}xx status.")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise MediaFetchFailed("The image's server sent a compressed body although it was not asked to.")
        if (response.content_length or 0) > self._limits.max_bytes:
            raise self._too_large()
        start = asyncio.get_running_loop().time() + self._limits.slow_grace
        body = bytearray()
        while True:
            try:
                async with asyncio.timeout_at(start + len(body) / self._limits.min_rate):
                    chunk = await response.content.read(_CHUNK)
            except TimeoutError:
                raise MediaFetchFailed("The image's server sent the image too slowly.") from None
            if not chunk:
                return bytes(body)
            body += chunk
            if len(body) > self._limits.max_bytes:
                raise self._too_large()
            take_bytes(len(chunk))

    def _too_large(self) -> ImageTooLarge:
        return ImageTooLarge(
            f"The image at the URL has more than the allowed {self._limits.max_bytes} bytes (max_image_bytes)."
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=self._resolver,
                    use_dns_cache=False,
                    limit=self._limits.connections,
                    limit_per_host=self._limits.connections_per_host,
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_timeout),
                headers=_HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session


def _failure(error: Exception) -> str:
    """Our own sentence for an error of aiohttp, whose text may contain addresses."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "A secure connection to the image's server could not be established."
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError):
        return "The image's server could not be reached."
    return "The image's server closed the connection early or did not answer with valid HTTP."
