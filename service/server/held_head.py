"""An answer's head and the first piece of its body in one packet.

uvicorn writes the head as soon as it is known. By ASGI it may wait for the body, and almost always that is there: one
system call less for each answer, and one packet less for its client to read.
https://asgi.readthedocs.io/en/latest/specs/www.html#response-start-send-event
"""

from __future__ import annotations

import asyncio

CONTINUE = b"HTTP/1.1 100 "
"""How an interim answer begins, which is nobody's head."""


class HeldHead:
    """What uvicorn uses of a transport, for the answer to one request that is not for its head alone."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._sent = False

    def write(self, data: bytes) -> None:
        if self._sent or data.startswith(CONTINUE):
            self._transport.write(data)
        elif self._head is None:
            self._head = data
        else:
            self._sent = True
            self._transport.write(self._head + data)

    def close(self) -> None:
        if self._head is not None and not self._sent:
            self.write(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
