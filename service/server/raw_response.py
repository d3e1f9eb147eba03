"""An error as the bytes of an HTTP/1.1 response, for when there is no request yet that an application could answer."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from service.api.errors import error_response
from service.errors import PatchbayError


def raw_response(error: PatchbayError, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Status, headers and OpenAI's error object; tells the client that the connection ends with it."""
    response = error_response(error)
    lines = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()]
    told = [header for header in response.raw_headers if header[0] != b"connection"]
    lines += [name + b": " + value for name, value in (*headers, *told, (b"connection", b"close"))]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)
