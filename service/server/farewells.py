"""Connections that were refused for want of room: they are answered, and closed once the client has seen it.

A socket that is closed while the client is still sending resets the connection, and the answer is lost on the way. So
what still comes is read and thrown away, for a short time (a lingering close, as HTTP servers call it).
"""

from __future__ import annotations

import asyncio
import socket

from service.errors import TooManyConnections
from service.server.raw_response import raw_response

AT_MOST = 32
"""Refused connections that are open at once: the oldest is closed to make room."""
LINGER_SECONDS = 2.0
RETRY_AFTER = 5.0
PIECE = 64 * 1024


class Farewells:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # in the order in which they were refused
        self._lingering: dict[socket.socket, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._lingering)

    def refuse(self, accepted: socket.socket) -> None:
        """Answers 503 on a socket that does not block, and closes it later."""
        error = TooManyConnections(
            "The server has as many connections as it takes (max_connections), all of them with a request in progress.",
            retry_after=RETRY_AFTER,
        )
        try:
            accepted.send(raw_response(error))
            accepted.shutdown(socket.SHUT_WR)
        except OSError:
            accepted.close()
            return
        if len(self._lingering) >= AT_MOST:
            self._end(next(iter(self._lingering)))
        self._lingering[accepted] = self._loop.call_later(LINGER_SECONDS, self._end, accepted)
        self._loop.add_reader(accepted.fileno(), self._discard, accepted)

    def close(self) -> None:
        """Closes them all at once."""
        for each in list(self._lingering):
            self._end(each)

    def _discard(self, refused: socket.socket) -> None:
        try:
            ended = not refused.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._end(refused)

    def _end(self, refused: socket.socket) -> None:
        self._lingering.pop(refused).cancel()
        self._loop.remove_reader(refused.fileno())
        refused.close()
