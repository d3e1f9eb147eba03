"""Messages between pool and worker: a length, a JSON object, and as many raw bytes as it announces.

No pickle: neither side can make the other build an object.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping
from typing import Any

_LONGEST_HEADER = 64 * 1024
_CHUNK = 1024**2


def write_message(
    descriptor: int, header: Mapping[str, Any], body: bytes = b"", *, deadline: float | None = None
) -> None:
    """Sends `header`, with the length of `body` as `bytes`, then `body`.

    `deadline` is a time of `time.monotonic`; it needs a descriptor that does not block. Raises TimeoutError, and
    OSError when the other side is gone.
    """
    text = json.dumps({**header, "bytes": len(body)}).encode()
    for piece in (len(text).to_bytes(4, "big") + text, body):
        left = memoryview(piece)
        while left:
            _wait(descriptor, select.POLLOUT, deadline)
            left = left[os.write(descriptor, left[:_CHUNK]) :]


def read_message(
    descriptor: int, *, most_bytes: int, deadline: float | None = None
) -> tuple[dict[str, Any], bytes]:
    """(header, body), the body of at most `most_bytes`.

    Raises EOFError at the end of the stream, TimeoutError, and ValueError for anything that is not a message.
    """
    length = int.from_bytes(_read(descriptor, 4, deadline), "big")
    if length > _LONGEST_HEADER:
        raise ValueError("a message's header is too long")
    try:
        header = json.loads(_read(descriptor, length, deadline))
        size = header["bytes"]
    except (TypeError, KeyError, RecursionError):
        raise ValueError("a message's header is malformed") from None
    if not isinstance(size, int) or not 0 <= size <= most_bytes:
        raise ValueError(f"a message's body is at most {most_bytes} bytes long")
    return header, _read(descriptor, size, deadline)


def _read(descriptor: int, size: int, deadline: float | None) -> bytes:
    got = bytearray()
    while len(got) < size:
        _wait(descriptor, select.POLLIN, deadline)
        piece = os.read(descriptor, min(_CHUNK, size - len(got)))
        if not piece:
            raise EOFError("the other side closed")
        got += piece
    return bytes(got)


def _wait(descriptor: int, event: int, deadline: float | None) -> None:
    if deadline is None:
        return
    waiting = select.poll()
    waiting.register(descriptor, event)
    if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError("the other side is too slow")
