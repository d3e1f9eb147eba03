"""uvicorn's server, whose connections are bounded, each by itself and all together."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import uvicorn

from service.server.acceptor import Acceptor
from service.server.connections import Connections
from service.server.http_connection import HttpConnection
from service.server.limits import ConnectionLimits
from service.server.reserve import Reserve


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one listener's connections may take."""

    limits: ConnectionLimits
    connections: Connections
    reserve: Reserve = field(default_factory=lambda: Reserve(0))
    privileged: bool = False
    """Whether the reserve is for this listener."""
    paused: Callable[[], None] = lambda: None


class BoundedServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, bounds: Bounds) -> None:
        super().__init__(config)
        self._bounds = bounds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn opens nothing for a list without sockets; accepting is done here
        await super().startup(sockets=[])
        bounds = self._bounds
        for listening in sockets or []:
            acceptor = Acceptor(
                listening,
                self._connection,
                bounds.connections,
                reserve=bounds.reserve,
                privileged=bounds.privileged,
                paused=bounds.paused,
            )
            acceptor.start()
            self.servers.append(acceptor)  # type: ignore[arg-type]

    def _connection(self) -> HttpConnection:
        return HttpConnection(
            limits=self._bounds.limits,
            connections=self._bounds.connections,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
