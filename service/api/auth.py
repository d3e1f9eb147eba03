"""API keys as bearer tokens, or in the header of Anthropic's clients. A dependency of the `/v1` router, so that it
guards whatever is routed there."""

from __future__ import annotations

from starlette.requests import Request

from service.api.exchange import exchange_of
from service.keys import KeyStore


class Authentication:
    """The FastAPI dependency: a coroutine, although it waits for nothing, because others are run in a thread."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def __call__(self, request: Request) -> None:
        """Raises Unauthorized."""
        authorization, key = request.headers.get("authorization"), request.headers.get("x-api-key")
        if authorization is None and key is not None:
            authorization = f"Bearer {key}"
        exchange_of(request.scope).caller = self._keys.caller(authorization)
