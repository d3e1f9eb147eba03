"""HTTP to the engine: a request out, bytes back as they arrive.

Closing a reply before its end closes the connection, which tells vLLM to stop generating. Answers are interpreted in
`answer`, not here.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from service.errors import EngineFailed, EngineLost, EngineUnavailable

FORWARDED = frozenset({"traceparent", "tracestate", "x-request-id"})
"""Headers that are forwarded. The client's others (keys, cookies, proxies' own) do not concern the engine."""
IDLE_SECONDS = 2.5
"""How long an idle connection is kept. vLLM closes its side after 5 s, and a request sent just then would be lost."""
HEALTH_SECONDS = 10.0
"""Long enough for a server that is busy but alive."""


class VLLMReply:
    """Implements `domain.EngineReply`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "application/octet-stream")
        self._response = response

    async def body(self) -> AsyncIterator[bytes]:
        """Yields what has arrived, in pieces of any size. Raises EngineFailed if the engine stops in the middle."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise EngineFailed("The engine stopped in the middle of its answer.") from error

    async def aclose(self) -> None:
        """Aborts the generation unless the body was read to its end. May be called repeatedly."""
        self._response.close()


class VLLMClient:
    """Implements `domain.Engine` for a vLLM OpenAI server at `base_url` (no path).

    `retry_after` returns the seconds that clients are told to wait while the engine does not respond. Must be created
    and closed in a running event loop.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout: float = 5.0,
        retry_after: Callable[[], float] = lambda: 10.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._retry_after = retry_after
        # no limit on connections: admission counts requests. No total timeout: an answer may take any time
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._session.close()

    async def post(self, route: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> VLLMReply:
        """Sends `payload` as JSON; of `headers` only those in FORWARDED are sent.

        Raises EngineUnavailable if no connection can be made, EngineLost if it ends before a status arrives.
        """
        # in ASCII, because JSON allows lone surrogates, which UTF-8 cannot encode
        body = json.dumps(payload, separators=(",", ":")).encode("ascii")
        sent = {name: value for name, value in headers.items() if name.lower() in FORWARDED}
        return await self._request("POST", route, body, {"Content-Type": "application/json", **sent})

    async def get(self, route: str) -> VLLMReply:
        """Raises EngineUnavailable like `post`."""
        return await self._request("GET", route, None, {})

    async def health(self) -> bool:
        """Whether the server responds and reports that its engine is alive."""
        timeout = aiohttp.ClientTimeout(total=HEALTH_SECONDS)
        try:
            async with self._session.get(f"{self._base_url}/health", timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _request(
        self, method: str, route: str, body: bytes | None, headers: Mapping[str, str]
    ) -> VLLMReply:
        headers = {"Accept-Encoding": "identity", **headers}
        # a file is written in pieces: megabytes at once would stall the event loop
        data = None if body is None else io.BytesIO(body)
        try:
            response = await self._session.request(
                method, self._base_url + route, data=data, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise EngineUnavailable(
                "The engine is not responding at the moment.", retry_after=self._retry_after()
            ) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineLost(
                "The engine went away while it had this request.", retry_after=self._retry_after()
            ) from error
        return VLLMReply(response)
