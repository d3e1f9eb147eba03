"""Image URLs to bytes: the only connections that Patchbay makes to addresses chosen by clients.

Every hop is checked by the guard; total time, size and minimum speed are limited; the text of the other server's
answers never reaches the client. What is not protected by that is taken as browsers take it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from service import __version__
from service.domain import ImageRef
from service.errors import FetchCause, ImageError, ImageTooLarge, MediaFetchFailed, URLNotAllowed
from service.ingest.encoding import BadEncoding, Inflater, decoder
from service.ingest.guard import GuardedResolver, Lookup, ParsedURL, URLPolicy, check_url, follow
from service.ingest.turns import Turns

_SUCCESSES = frozenset({200, 203})
"""203: a proxy on the way has changed something."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 256 * 1024
USER_AGENT = f"patchbay/{__version__}"

TakeBytes = Callable[[int], None]
Enough = Callable[[bytes], bool]


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
    connections_per_caller: int = 32
    """Of one API key, so that slow servers that it names leave connections to others. Waiting for one's own does not
    count as time of the fetch."""


class Fetcher:
    """Fetches images. Needs a running event loop from the first fetch on, and `close` at the end."""

    def __init__(
        self,
        policy: URLPolicy,
        limits: FetchLimits,
        *,
        user_agent: str = USER_AGENT,
        lookup: Lookup = socket.getaddrinfo,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._headers = {"User-Agent": user_agent, "Accept": "image/*", "Accept-Encoding": "identity"}
        self._resolver = GuardedResolver(policy, lookup)
        self._turns = Turns(limits.connections_per_caller)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(
        self,
        ref: ImageRef,
        take_bytes: TakeBytes = lambda count: None,
        enough: Enough | None = None,
        *,
        caller: str = "",
    ) -> bytes:
        """The body behind `ref.url`; `take_bytes` is told of its bytes as they come, and may raise an ImageError.

        With `enough` it is what came until that was true of it, or all; the connection is closed where more would come.
        `enough` is asked whenever there is twice as much, so that its work adds up to no more than that of one look at
        everything.

        Raises URLNotAllowed, MediaFetchFailed and ImageTooLarge, all with `ref.path`.
        """
        url = check_url(ref.url, self._policy, ref.path)
        try:
            async with self._turns.turn(caller), asyncio.timeout(self._limits.timeout):
                return await self._follow(url, ref.path, take_bytes, enough)
        except ImageError as error:
            error.param = ref.path  # the resolver does not know it
            raise
        # aiohttp's connect timeout is a TimeoutError too, so its errors come first
        except aiohttp.ClientError as error:
            raise _failure(error, ref.path) from None
        except TimeoutError:
            raise MediaFetchFailed(
                f"The image was not delivered within {self._limits.timeout:g} seconds (fetch_timeout).",
                cause=FetchCause.TIMEOUT,
                param=ref.path,
            ) from None
        except (OSError, ValueError) as error:
            raise _failure(error, ref.path) from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def _follow(self, url: ParsedURL, path: str, take_bytes: TakeBytes, enough: Enough | None) -> bytes:
        for _ in range(self._limits.redirects + 1):
            async with self._open().get(url.url, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if location is None or response.status not in _REDIRECTS:
                    return await self._body(response, take_bytes, enough)
                url = follow(location, url, self._policy, path)
        raise URLNotAllowed(
            f"The image URL redirects more than {self._limits.redirects} times (fetch_redirects).",
            cause=FetchCause.REDIRECT,
        )

    async def _body(
        self, response: aiohttp.ClientResponse, take_bytes: TakeBytes, enough: Enough | None
    ) -> bytes:
        if response.status not in _SUCCESSES:
            raise _refused(response.status)
        try:
            body = await self._decoded(response, take_bytes, enough)
        except BadEncoding as error:
            raise MediaFetchFailed(
                f"The image's server sent a body {error}.", cause=FetchCause.ENCODING
            ) from None
        return body

    async def _decoded(
        self, response: aiohttp.ClientResponse, take_bytes: TakeBytes, enough: Enough | None
    ) -> bytes:
        """Raises BadEncoding, MediaFetchFailed and whatever `take_bytes` raises."""
        encoding = decoder(response.headers.getall("Content-Encoding", ()), self._limits.max_bytes)
        if (response.content_length or 0) > self._limits.max_bytes:
            raise self._too_large()
        start = asyncio.get_running_loop().time() + self._limits.slow_grace
        body, received, looked_at = bytearray(), 0, 0
        while piece := await self._read(response, start + received / self._limits.min_rate):
            received += len(piece)
            if isinstance(encoding, Inflater):
                # a piece may become all that is allowed
                piece = await asyncio.to_thread(encoding.feed, piece)
            body += piece
            if max(len(body), received) > self._limits.max_bytes:
                raise self._too_large()
            take_bytes(len(piece))
            if enough is not None and len(body) >= 2 * looked_at:
                looked_at = len(body)
                if enough(bytes(body)):
                    return bytes(body)
        encoding.end()
        return bytes(body)

    async def _read(self, response: aiohttp.ClientResponse, deadline: float) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                return await response.content.read(_CHUNK)
        except TimeoutError:
            raise MediaFetchFailed(
                "The image's server sent the image too slowly.", cause=FetchCause.TOO_SLOW
            ) from None

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
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session


def _refused(status: int) -> MediaFetchFailed:
    """A status that is no success. Of the answer's text the client learns nothing, as it may be anybody's."""
    if status in _REDIRECTS:
        return MediaFetchFailed(
            f"The image's server answered with status {status}, a redirect, and did not say where to.",
            cause=FetchCause.REDIRECT,
        )
    classes = {4: FetchCause.STATUS_4XX, 5: FetchCause.STATUS_5XX}
    return MediaFetchFailed(
        f"The image's server answered with status {status}.",
        cause=classes.get(status // 100, FetchCause.STATUS_OTHER),
    )


def _failure(error: Exception, path: str) -> MediaFetchFailed:
    """Our own sentence for an error of aiohttp, whose text may contain addresses."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        text, cause = "A secure connection to the image's server could not be established.", FetchCause.TLS
    elif isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError):
        text, cause = "The image's server could not be reached.", FetchCause.CONNECT
    else:
        text = "The image's server closed the connection early or did not answer with valid HTTP."
        cause = FetchCause.PROTOCOL
    return MediaFetchFailed(text, cause=cause, param=path)
