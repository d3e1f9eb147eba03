"""API keys as bearer tokens. A dependency of the `/v1` router, so that it guards whatever is routed there.

Every key allows the same; its salt keeps its cache entries apart from those of other keys.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.requests import Request

from service.api.exchange import exchange_of
from service.errors import ConfigurationError, Unauthorized

PURPOSE = b"patchbay tenant salt"


class ApiKeys:
    """The accepted keys. Without any, everyone is accepted, as one tenant with an empty salt."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        """Raises ConfigurationError for a key that no header can carry."""
        for number, key in enumerate(keys, 1):
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise ConfigurationError(
                    f"API key number {number} is empty or contains something other than printable ASCII without spaces."
                )
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def tenant(self, authorization: str | None) -> str:
        """The caller's salt, 64 hexadecimal digits or empty. Raises Unauthorized."""
        if not self._digests:
            return ""
        scheme, _, key = (authorization or "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise Unauthorized(
                "This server requires an API key. Send it in the header `Authorization: Bearer <key>`, as "
                "OpenAI's clients do when api_key is set."
            )
        digest = hashlib.sha256(key.encode()).digest()
        # every key is compared in full, so that the time taken does not reveal which one came close
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if not any(matches):
            raise Unauthorized("This server does not accept the API key that was sent.")
        return hashlib.sha256(PURPOSE + digest).hexdigest()

    def __call__(self, request: Request) -> None:
        """The FastAPI dependency. Raises Unauthorized."""
        exchange_of(request.scope).tenant = self.tenant(request.headers.get("authorization"))
