"""The open connections of one listener: how many, which of them wait for a request, and why each was closed.

A connection that has a request in progress is never closed to make room. Knows nothing of sockets or HTTP.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol


class Reason(StrEnum):
    """Why a connection was closed."""

    CLIENT = "client"
    """The client closed it."""
    SERVER = "server"
    """The server did, after an answer or to shut down."""
    IDLE = "idle_timeout"
    HEADER_TIMEOUT = "header_timeout"
    HEADERS_TOO_LARGE = "headers_too_large"
    MALFORMED = "malformed"
    PIPELINE = "pipeline_too_long"
    WRITE_TIMEOUT = "write_timeout"
    DEADLINE = "deadline"
    """The client had not read its answer when the request's time was up."""
    EVICTED = "evicted"
    """It waited for a request longest when another connection needed the room."""
    REFUSED = "refused"
    """Every connection had a request in progress, so a new one was turned away."""


class Evictable(Protocol):
    def evict(self) -> None:
        """Closes the connection at once."""
        ...


class Connections:
    def __init__(self, limit: int, closed: Callable[[str], None] = lambda reason: None) -> None:
        """`closed` is told the reason of each connection that ends."""
        self.limit = limit
        self._closed = closed
        self._open: set[Evictable] = set()
        # in the order in which they began to wait
        self._waiting: OrderedDict[Evictable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def active(self) -> int:
        """Connections with a request in progress."""
        return len(self._open) - len(self._waiting)

    @property
    def waiting(self) -> int:
        """Connections without a request in progress."""
        return len(self._waiting)

    def opened(self, connection: Evictable) -> None:
        self._open.add(connection)

    def waits(self, connection: Evictable) -> None:
        """From now on the connection has no request in progress."""
        self._waiting[connection] = None

    def works(self, connection: Evictable) -> None:
        """A request has begun: its headers are complete."""
        self._waiting.pop(connection, None)

    def ended(self, connection: Evictable, reason: Reason) -> None:
        self._waiting.pop(connection, None)
        self._open.discard(connection)
        self._closed(reason)

    def refused(self) -> None:
        self._closed(Reason.REFUSED)

    def room(self) -> bool:
        """Whether there is room for one more, made by evicting another one if need be."""
        return len(self._open) < self.limit or self.evict()

    def evict(self) -> bool:
        """Closes the connection that has waited longest for a request. False if none waits."""
        if not self._waiting:
            return False
        oldest, _ = self._waiting.popitem(last=False)
        # its socket closes in the loop's next turn; it no longer counts from here on
        self._open.discard(oldest)
        oldest.evict()
        return True
