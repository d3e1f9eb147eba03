"""Clients as bad as they come, over plain sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

PATH = "/v1/chat/completions"
LONG = {
    "messages": [{"role": "user", "content": "Tell."}],
    "stream": True,
    "max_tokens": 3000,
    "ignore_eos": True,
    "n": 4,
    "temperature": 1.0,
    "logprobs": True,
    "top_logprobs": 20,
}
"""An answer of many megabytes."""


def connect(url: str, *, receive_buffer: int | None = None) -> socket.socket:
    at = urlsplit(url)
    assert at.hostname is not None and at.port is not None
    made = socket.socket()
    if receive_buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.connect((at.hostname, at.port))
    return made


def head(length: int, key: str = "") -> bytes:
    lines = [
        f"POST {PATH} HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"content-length: {length}",
        *([f"authorization: Bearer {key}"] if key else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def connections(url: str, count: int, sent: bytes, **options: int) -> Iterator[list[socket.socket]]:
    """So many connections, each of which has sent the same and is silent since."""
    with ExitStack() as held:
        made = []
        for _ in range(count):
            made.append(held.enter_context(connect(url, **options)))
            made[-1].sendall(sent)
        yield made


def half_bodies(key: str = "") -> bytes:
    return head(100, key) + b'{"mes'


def stalled_reader(key: str = "") -> bytes:
    body = json.dumps(LONG).encode()
    return head(len(body), key) + body


def closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it; what it sent before is read."""
    connection.setblocking(False)
    try:
        while connection.recv(1 << 20):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
