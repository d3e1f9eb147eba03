"""Faults, each done to a running service."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.e2e.server import Server
from tests.faults.clients import connect, connections, half_bodies, stalled_reader

HOLD = 20.0
"""Seconds for which the lasting faults last."""


@dataclass(frozen=True, slots=True)
class Drill:
    name: str
    do: Callable[[Server], None]


def children(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def decoders(server: Server) -> tuple[list[int], list[int]]:
    """The fork server of the decoding processes, and these."""
    masters = [pid for pid in children(server.process.pid) if b"decode.worker" in _command(pid)]
    return masters, [pid for master in masters for pid in children(master)]


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def send(number: int, *pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def engine_killed(server: Server) -> None:
    send(signal.SIGKILL, *server.engine_core())


def engine_server_killed(server: Server) -> None:
    send(signal.SIGKILL, *server.engine_processes())


def engine_stopped(server: Server) -> None:
    send(signal.SIGSTOP, *server.engine_core())


def decoders_killed(server: Server) -> None:
    send(signal.SIGKILL, *decoders(server)[1])


def fork_server_killed(server: Server) -> None:
    masters, workers = decoders(server)
    send(signal.SIGKILL, *masters, *workers)


def decoders_stopped(server: Server) -> None:
    workers = decoders(server)[1]
    send(signal.SIGSTOP, *workers)
    time.sleep(HOLD)
    send(signal.SIGCONT, *workers)


def clients_gone(server: Server) -> None:
    """Streams that are left after their first bytes."""
    for _ in range(50):
        with connect(server.url) as connection:
            connection.sendall(stalled_reader())
            connection.recv(200)


def bodies_that_stop(server: Server) -> None:
    with connections(server.url, 200, half_bodies()):
        time.sleep(HOLD)


def readers_that_stop(server: Server) -> None:
    with connections(server.url, 12, stalled_reader(), receive_buffer=4096):
        time.sleep(HOLD)


def half_open(server: Server) -> None:
    with connections(server.url, 400, b"POST / HTTP/1.1\r\nhost: x\r\n"), connections(server.url, 400, b""):
        time.sleep(HOLD)


def header_flood(server: Server) -> None:
    lines = b"".join(b"X-%07d: %s\r\n" % (number, b"a" * 1000) for number in range(1000))
    with connect(server.url) as connection, suppress(OSError):
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n")
        for _ in range(100):
            connection.sendall(lines)


def descriptors_exhausted(server: Server) -> None:
    """The limit is lowered to just above what is open."""
    pid = server.process.pid
    used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 60, before[1]))
    try:
        with connections(server.url, 200, b""):
            time.sleep(HOLD)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def slow_image_hosts(server: Server) -> None:
    """Hosts that accept and never answer; needs --allow-private-urls."""
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=200) as host:
        url = f"http://127.0.0.1:{host.getsockname()[1]}/a.png"
        part = {"type": "image_url", "image_url": {"url": url}}
        request = {"messages": [{"role": "user", "content": [part]}], "max_tokens": 1}
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for _ in range(2):
                reply = client.post("/v1/chat/completions", json=request)
                assert reply.status_code == 424, reply.text


DRILLS = (
    Drill("engine core killed", engine_killed),
    Drill("engine's server killed", engine_server_killed),
    Drill("engine core stopped", engine_stopped),
    Drill("decoding processes killed", decoders_killed),
    Drill("fork server and decoding processes killed", fork_server_killed),
    Drill("decoding processes stopped for a while", decoders_stopped),
    Drill("50 clients gone in mid stream", clients_gone),
    Drill("200 bodies that stop", bodies_that_stop),
    Drill("12 readers that stop", readers_that_stop),
    Drill("800 connections without a request", half_open),
    Drill("100 MB of headers", header_flood),
    Drill("file descriptors exhausted", descriptors_exhausted),
    Drill("image hosts that do not answer", slow_image_hosts),
)
