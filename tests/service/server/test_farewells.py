"""Refused connections on real sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from service.server.farewells import AT_MOST, LINGER_SECONDS, Farewells
from tests.service.server.site import turns

pytestmark = pytest.mark.anyio


def pair() -> tuple[socket.socket, socket.socket]:
    """The server's end and the client's."""
    server, client = socket.socketpair()
    server.setblocking(False)
    client.setblocking(False)
    return server, client


def read(client: socket.socket) -> bytes:
    answer = b""
    while part := client.recv(4096):
        answer += part
    return answer


async def test_the_client_reads_the_answer_although_it_goes_on_sending() -> None:
    farewells = Farewells(asyncio.get_running_loop())
    server, client = pair()
    farewells.refuse(server)
    sent = 0
    for _ in range(50):
        sent += client.send(bytes(16 * 1024))
        await asyncio.sleep(0)
    assert sent == 50 * 16 * 1024
    assert read(client).startswith(b"HTTP/1.1 503 ")
    client.close()
    await turns(lambda: len(farewells) == 0)
    assert server.fileno() == -1


async def test_a_client_that_stays_is_closed_when_its_time_is_up() -> None:
    loop = asyncio.get_running_loop()
    farewells = Farewells(loop)
    server, client = pair()
    farewells.refuse(server)
    (timer,) = farewells._lingering.values()
    assert 0 < timer.when() - loop.time() <= LINGER_SECONDS
    timer._run()
    assert len(farewells) == 0 and server.fileno() == -1
    assert b"too_many_connections" in read(client)
    client.close()


async def test_no_more_than_so_many_stay_open_and_the_oldest_goes_first() -> None:
    farewells = Farewells(asyncio.get_running_loop())
    pairs = [pair() for _ in range(AT_MOST + 1)]
    for server, _ in pairs:
        farewells.refuse(server)
    assert [server.fileno() == -1 for server, _ in pairs] == [True] + [False] * AT_MOST
    farewells.close()
    assert all(server.fileno() == -1 for server, _ in pairs)
    for _, client in pairs:
        client.close()


async def test_a_client_that_has_gone_is_not_waited_for() -> None:
    farewells = Farewells(asyncio.get_running_loop())
    server, client = pair()
    client.close()
    farewells.refuse(server)
    assert len(farewells) == 0 and server.fileno() == -1
