"""Accepts connections while there is room for them, and outlives a process that has no file descriptor left.

Stands where uvicorn expects an `asyncio.Server`. asyncio's own accepts `backlog` times in a row and logs each failure,
which is a hundred thousand lines a minute once descriptors run out.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from service.server.connections import Connections, Reason
from service.server.farewells import Farewells
from service.server.http_connection import HttpConnection
from service.server.reserve import Reserve

log = logging.getLogger(__name__)

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})
AT_ONCE = 64
"""Connections accepted in one turn of the event loop."""
PAUSE_SECONDS = 1.0
TELL_EVERY = 60.0
"""Seconds between two log lines about the same thing."""


class Acceptor:
    def __init__(
        self,
        listening: socket.socket,
        connect: Callable[[], HttpConnection],
        connections: Connections,
        *,
        reserve: Reserve,
        privileged: bool = False,
        paused: Callable[[], None] = lambda: None,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """A `privileged` listener takes from the reserve when the process has no descriptor left; any other fills it
        before it takes one for itself. `paused` is called whenever accepting had to pause."""
        self._listening = listening
        self._connect = connect
        self._connections = connections
        self._paused = paused
        self._pause_seconds = pause_seconds
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[object]] = set()
        self._reserve = reserve
        self._privileged = privileged
        self._resuming: asyncio.TimerHandle | None = None
        self._told_at = float("-inf")
        self._farewells = Farewells(self._loop)

    def start(self) -> None:
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Accepts nothing any more; the socket itself is left to its owner, and open connections go on."""
        if self._resuming is not None:
            self._resuming.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._farewells.close()
        if self._privileged:
            self._reserve.close()

    async def wait_closed(self) -> None:
        """For uvicorn: whoever closes an acceptor has nothing to wait for."""

    def _accept(self) -> None:
        for count in range(AT_ONCE):
            if not self._privileged:
                self._reserve.fill()
            try:
                accepted = self._accepted()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._reserve.fill()
                return
            except OSError as error:
                # The kernel says so before it looks whether anybody waits, which only the first one is sure of. What
                # an evicted connection had is free in the loop's next turn.
                if count == 0 and not self._connections.evict():
                    self._pause(error)
                return
            self._take(accepted)

    def _accepted(self) -> socket.socket:
        try:
            return self._listening.accept()[0]
        except OSError as error:
            if error.errno not in EXHAUSTED or not self._privileged or not self._reserve.give():
                raise
        return self._listening.accept()[0]

    def _take(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        if not self._connections.room():
            self._connections.refused()
            self._farewells.refuse(accepted)
            return
        connection = self._connect()
        self._connections.opened(connection)

        def connected(task: asyncio.Task[object]) -> None:
            self._connecting.discard(task)
            if task.cancelled() or task.exception() is not None:
                accepted.close()
                self._connections.ended(connection, Reason.CLIENT)

        task: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: connection, accepted)
        )
        self._connecting.add(task)
        task.add_done_callback(connected)

    def _pause(self, error: OSError) -> None:
        self._paused()
        now = self._loop.time()
        if now - self._told_at >= TELL_EVERY:
            self._told_at = now
            log.warning(
                "no connection can be accepted: %s. Tried again every %g s; the process's limit of open files is "
                "`ulimit -n`",
                error.strerror,
                self._pause_seconds,
            )
        self._loop.remove_reader(self._listening.fileno())
        self._resuming = self._loop.call_later(self._pause_seconds, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        self._loop.add_reader(self._listening.fileno(), self._accept)
