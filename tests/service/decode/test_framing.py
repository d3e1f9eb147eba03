"""Messages over real pipes: whole, bounded, and in time."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator

import pytest

from service.decode.framing import read_message, write_message
from tests.waiting import DEADLOCK


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def framed(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(4, "big") + header + body


def test_messages_larger_than_the_pipe_arrive_whole_and_in_order(pipe: tuple[int, int]) -> None:
    bodies = [b"", b"x", bytes(range(256)) * 20_000]
    os.set_blocking(pipe[1], False)

    def send() -> None:
        for number, body in enumerate(bodies):
            write_message(pipe[1], {"number": number}, body, deadline=time.monotonic() + DEADLOCK)

    thread = threading.Thread(target=send)
    thread.start()
    for number, body in enumerate(bodies):
        assert read_message(pipe[0], most_bytes=10**7) == ({"number": number, "bytes": len(body)}, body)
    thread.join()


def test_the_end_of_the_stream_is_told_apart(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], framed(b'{"bytes": 5}', b"ab"))
    os.close(pipe[1])
    for _ in range(2):
        with pytest.raises(EOFError):
            read_message(pipe[0], most_bytes=10)


def test_silence_and_a_full_pipe_end_at_the_deadline(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    past = time.monotonic() - 1
    with pytest.raises(TimeoutError):
        read_message(pipe[0], most_bytes=0, deadline=past)
    with pytest.raises(TimeoutError):
        write_message(pipe[1], {}, bytes(10**6), deadline=past)


def test_nobody_on_the_other_side_is_an_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        write_message(pipe[1], {"a": 1})


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        framed(b"{"),
        framed(b"[]"),
        framed(b"7"),
        framed(b"{}"),
        framed(b'{"bytes": null}'),
        framed(b'{"bytes": "x"}'),
        framed(b'{"bytes": -1}'),
        framed(b'{"bytes": 11}', b"x" * 11),
        framed(b'{"bytes": 1e999}'),
        framed(b"[" * 60_000),
        framed(b"\xff\xfe"),
    ],
)
def test_what_is_no_message_is_a_value_error(pipe: tuple[int, int], data: bytes) -> None:
    writer = threading.Thread(target=os.write, args=(pipe[1], data))
    writer.start()
    with pytest.raises(ValueError):
        read_message(pipe[0], most_bytes=10)
    writer.join()


def test_headers_are_json(pipe: tuple[int, int]) -> None:
    write_message(pipe[1], {"size": [1, 2]}, b"ab")
    raw = os.read(pipe[0], 100)
    assert json.loads(raw[4:-2]) == {"size": [1, 2], "bytes": 2}
