"""File descriptors: how many connections the process's limit leaves room for.

A connection in progress needs two descriptors, the client's and the engine's, and images are fetched on others. What
is set aside for these, for the administrators' listener and for the process itself is never given to clients.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

from service.errors import ConfigurationError

ADMIN_CONNECTIONS = 64
FETCHES = 64
"""As many as `service.ingest.fetch` opens at once."""
OWN = 256
"""The process's own files: sockets that listen, refused connections that linger, logs, the arena, pipes to decoding
processes and to the engine."""
PER_PLACE = 16
"""Connections for each request that may be in flight: most of them are between two requests, or about to be refused."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    connections: int
    """Clients' connections that may be open at once."""
    needed: int
    """Descriptors of the whole process when they all are."""

    def ensure(self) -> None:
        """Raises the process's soft limit as far as needed; `plan_descriptors` has made sure that it may."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < self.needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.needed, hard))


def plan_descriptors(
    max_connections: int | None, max_inflight: int, *, hard_limit: int | None = None
) -> Descriptors:
    """`max_connections` None: 16 for each of `max_inflight`, or as many as there is room for.

    `hard_limit` is the process's own unless given. Raises ConfigurationError if the descriptors do not suffice.
    """
    if hard_limit is None:
        hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    reserved = OWN + FETCHES + ADMIN_CONNECTIONS + max_inflight
    room = hard_limit - reserved if hard_limit != resource.RLIM_INFINITY else None
    least = max_connections or max_inflight + 1
    if room is not None and room < least:
        setting = f"max_connections={max_connections}" if max_connections else f"max_inflight={max_inflight}"
        raise ConfigurationError(
            f"{setting} needs {least + reserved} file descriptors and this process may have {hard_limit}: raise the "
            f"limit (`ulimit -Hn`, LimitNOFILE, or the container's `nofile`) or lower {setting.partition('=')[0]}"
        )
    connections = max_connections or PER_PLACE * max_inflight
    if room is not None:
        connections = min(connections, room)
    return Descriptors(connections, connections + reserved)
