"""What one connection may take. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    max_header_bytes: int = 64 * 1024
    """Request line and headers together; also the trailer of a chunked body."""
    max_headers: int = 100
    header_timeout: float = 20.0
    """From accepting the connection, or from the first byte of a later request, to the end of the headers."""
    idle_timeout: float = 75.0
    """Between an answer and the first byte of the next request."""
    write_timeout: float = 30.0
    """How long a client may read nothing of an answer that waits for it."""
