"""Errors in Anthropic's words. https://docs.claude.com/en/api/errors"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""By HTTP status; others are the client's (invalid_request_error) or the server's (api_error)."""


def in_anthropics_words(openais: Mapping[str, Any], status: int, request_id: str) -> dict[str, Any]:
    """OpenAI's error object as Anthropic's. `param`, `code` and `cause`, which Anthropic's has not, are kept."""
    told = dict(openais["error"])
    told["type"] = TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": told, "request_id": request_id}
