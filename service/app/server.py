"""uvicorn, taught to drain: on a signal readiness drops and new work is refused, while running answers end.

A second server, for operators, may run beside it in the same event loop: it answers until the first has ended, so
that a drain can be watched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.errors import ConfigurationError
from service.pipeline.admission import Admission
from service.server import (
    ADMIN_CONNECTIONS,
    BoundedServer,
    Bounds,
    ConnectionLimits,
    Connections,
    Reason,
    Reserve,
)
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

RESERVED_DESCRIPTORS = 8
"""Held back for the administrators' listener: its probes are answered when the process has no descriptor left."""
UNSENT_BYTES = 256 * 1024
"""How much of an answer the kernel takes for a client that does not read, beyond what the client's own side takes."""


class Beside(BoundedServer):
    """A server that leaves the signals to the one that it runs beside, and ends when it is told to."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@dataclass(frozen=True, slots=True)
class Admin:
    """The operators' own application, and the socket that it listens on."""

    api: FastAPI
    listening: socket.socket


class DrainingServer(BoundedServer):
    """Listens until the last running request has ended, or the drain's time is up, or a second signal comes."""

    def __init__(
        self,
        config: uvicorn.Config,
        bounds: Bounds,
        admission: Admission,
        drain_timeout: float,
        beside: tuple[Beside, socket.socket] | None = None,
    ) -> None:
        super().__init__(config, bounds)
        self._beside = beside
        self._serving_beside: asyncio.Task[None] | None = None
        self._admission = admission
        self._drain_timeout = drain_timeout
        self._drain: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._beside is not None:
            server, listening = self._beside
            self._serving_beside = asyncio.create_task(server.serve([listening]), name="admin server")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._beside is not None and self._serving_beside is not None:
            self._beside[0].should_exit = True
            await asyncio.gather(self._serving_beside, return_exceptions=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn for SIGINT and SIGTERM."""
        if self._admission.draining or self._loop is None:
            super().handle_exit(sig, frame)
            return
        self._admission.drain()
        self._loop.call_soon_threadsafe(self._begin_drain, sig)

    def _begin_drain(self, sig: int) -> None:
        self._drain = asyncio.create_task(self._end_when_idle(sig), name="drain")

    async def _end_when_idle(self, sig: int) -> None:
        log.info("draining: %d requests are running", self._admission.inflight)
        try:
            async with asyncio.timeout(self._drain_timeout):
                await self._admission.idle()
        except TimeoutError:
            log.warning("%d requests had not ended after %g s", self._admission.inflight, self._drain_timeout)
        super().handle_exit(sig, None)


def listen(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Takes the address before anything is started. Raises ConfigurationError when it is taken or not ours."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror}. Choose another with --host or {flag}"
        ) from None
    listening.set_inheritable(False)
    # Connections inherit these. asyncio sets the first only where the protocol's number was given, and create_server
    # gives none: then a body waits for the acknowledgement of its head, which clients delay by 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return listening


def make_server(
    api: FastAPI,
    admission: Admission,
    metrics: Metrics,
    *,
    log_level: str,
    drain_timeout: float,
    max_connections: int,
    limits: ConnectionLimits,
    admin: Admin | None = None,
) -> DrainingServer:
    """`max_connections` and the metrics are about the API's clients; the administrators' listener has a bound of its
    own, so that neither takes the other's room."""
    connections = Connections(max_connections, metrics.connection_closed)
    metrics.watch_connections(
        max_connections,
        waiting=lambda: connections.waiting,
        active=lambda: connections.active,
        reasons=Reason,
    )
    reserve = Reserve(RESERVED_DESCRIPTORS if admin is not None else 0)
    bounds = Bounds(limits, connections, reserve, paused=metrics.accept_paused)
    beside = None
    if admin is not None:
        its_bounds = Bounds(limits, Connections(ADMIN_CONNECTIONS), reserve, privileged=True)
        beside = (Beside(_config(admin.api, log_level, grace=1), its_bounds), admin.listening)
    # what the drain did not end is cut off
    return DrainingServer(_config(api, log_level, grace=5), bounds, admission, drain_timeout, beside)


def _config(api: FastAPI, log_level: str, grace: int) -> uvicorn.Config:
    return uvicorn.Config(
        api,
        # its lines take the form of all others
        log_config=None,
        log_level=log_level,
        access_log=False,
        server_header=False,
        # no protocol but HTTP is spoken
        ws="none",
        timeout_graceful_shutdown=grace,
    )
