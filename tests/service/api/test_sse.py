import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from service.api.connection import StalledClient
from service.api.sse import KEEP_ALIVE, EventStream, FrameSplitter, error_frame
from service.errors import EngineFailed, InvalidRequest, PatchbayError
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio


@given(st.lists(st.sampled_from([b"\n", b"\n\n", b"a", b"a\n", b"\n\na", b""])))
def test_the_same_frames_for_every_way_of_cutting(chunks: list[bytes]) -> None:
    stream, splitter = b"".join(chunks), FrameSplitter()
    frames = [frame for chunk in chunks for frame in splitter.feed(chunk)]
    assert frames == FrameSplitter().feed(stream)
    assert all(frame.find(b"\n\n") == len(frame) - 2 for frame in frames)
    whole = b"".join(frames)
    assert stream.startswith(whole) and b"\n\n" not in stream[len(whole) :]


def test_a_frame_is_given_out_as_soon_as_it_is_whole() -> None:
    splitter = FrameSplitter()
    assert splitter.feed(b"data: 1\n") == []
    assert splitter.feed(b"\ndata: 2\n\ndata") == [b"data: 1\n\n", b"data: 2\n\n"]
    assert splitter.feed(b"\n\n") == [b"data\n\n"]


def test_the_error_event() -> None:
    frame = error_frame(InvalidRequest("line\nbreak", param="a"))
    assert frame.startswith(b"data: {") and frame.endswith(b"}\n\n") and frame.count(b"\n") == 2
    assert json.loads(frame.removeprefix(b"data: "))["error"]["message"] == "line\nbreak"


class Wire:
    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.news = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, message: Message) -> None:
        await self.open.wait()
        self.sent.append(message)
        self.news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(DEADLOCK):
            while len(self.sent) < count:
                self.news.clear()
                await self.news.wait()

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:]]


def stream(wire: Wire, keepalive: float = 60, **more: Any) -> EventStream:
    def explain(error: Exception) -> PatchbayError:
        return error if isinstance(error, PatchbayError) else PatchbayError("unforeseen")

    return EventStream(wire.send, keepalive_seconds=keepalive, explain=explain, **more)


async def test_frames_then_the_end() -> None:
    wire = Wire()
    async with stream(wire) as events:
        assert wire.sent == []
        await events.write(b"data: 1\n\n")
    start = wire.sent[0]
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]
    assert wire.bodies == [b"data: 1\n\n", b""]
    assert [message.get("more_body") for message in wire.sent[1:]] == [True, False]


async def test_the_last_frames_and_the_end_are_one_message() -> None:
    wire = Wire()
    async with stream(wire) as events:
        await events.write(b"data: 1\n\n")
        events.end_with(b"data: [DONE]\n\n")
        assert wire.bodies == [b"data: 1\n\n"]
    assert wire.bodies == [b"data: 1\n\n", b"data: [DONE]\n\n"]
    assert [message["more_body"] for message in wire.sent[1:]] == [True, False]


async def test_what_breaks_off_does_not_end_as_if_it_were_whole() -> None:
    wire = Wire()
    events = stream(wire)
    async with events:
        await events.write(b"data: 1\n\n")
        events.end_with(b"data: [DONE]\n\n")
        raise EngineFailed("died")
    assert events.failure is not None
    assert wire.bodies == [b"data: 1\n\n", error_frame(events.failure)]


async def test_the_end_is_the_last_thing_that_happens() -> None:
    """Servers say that the client is gone once an answer has ended, which cancels whatever still runs."""
    wire, before = Wire(), asyncio.all_tasks()
    tasks: list[set[asyncio.Task[Any]]] = []
    commented = asyncio.Event()

    async def send(message: Message) -> None:
        tasks.append(asyncio.all_tasks() - before)
        commented.set()

    wire.send = send  # type: ignore[method-assign]
    async with stream(wire, keepalive=0.001):
        await commented.wait()
    assert tasks[0] and not tasks[-1]


async def test_silence_before_the_first_frame_and_between_frames() -> None:
    wire = Wire()
    async with stream(wire, keepalive=0.001) as events:
        await wire.until(3)
        await events.write(b"data: 1\n\n")
        await wire.until(len(wire.sent) + 2)
    assert wire.sent[0]["status"] == 200
    silent_first, _, rest = b"|".join(wire.bodies).partition(b"data: 1\n\n")
    assert silent_first.count(KEEP_ALIVE) >= 2 and rest.count(KEEP_ALIVE) >= 2
    assert [kind["type"] for kind in wire.sent].count("http.response.start") == 1


async def test_no_comment_while_frames_come() -> None:
    # a frame goes out whenever the heartbeat has slept, so there never was a whole silence
    wire, now = Wire(), 0.0
    async with stream(wire, keepalive=1e-9, clock=lambda: now) as events:
        for _ in range(20):
            now += 1e-10
            await events.write(b"data: 1\n\n")
            await asyncio.sleep(0)
    assert KEEP_ALIVE not in wire.bodies


async def test_a_failure_before_anything_was_sent_goes_through() -> None:
    wire = Wire()
    with pytest.raises(EngineFailed):
        async with stream(wire):
            raise EngineFailed("no")
    assert wire.sent == []


@pytest.mark.parametrize("error, words", [(EngineFailed("died"), "died"), (KeyError("x"), "unforeseen")])
async def test_a_late_failure_is_one_error_event_and_the_end(error: Exception, words: str) -> None:
    wire = Wire()
    events = stream(wire)
    async with events:
        await events.write(b"data: 1\n\n")
        raise error
    assert events.failure is not None and events.failure.message == words
    assert wire.bodies == [b"data: 1\n\n", error_frame(events.failure)]
    assert [message["more_body"] for message in wire.sent[1:]] == [True, False]


async def test_a_failure_after_a_comment_is_an_event_too() -> None:
    wire = Wire()
    async with stream(wire, keepalive=0.001):
        await wire.until(2)
        raise EngineFailed("died")
    assert b'"died"' in wire.bodies[-1] and not wire.sent[-1]["more_body"]


async def test_a_failure_while_a_comment_is_on_its_way_waits_for_it() -> None:
    wire = Wire()
    wire.open.clear()
    failed = asyncio.Event()

    async def fail() -> None:
        async with stream(wire, keepalive=0) as events:
            while not events.started:
                await asyncio.sleep(0)
            failed.set()
            raise EngineFailed("died")

    task = asyncio.create_task(fail())
    await failed.wait()
    await asyncio.sleep(0)
    assert not task.done()
    wire.open.set()
    await task
    assert wire.bodies[0] == KEEP_ALIVE and b'"died"' in wire.bodies[1] and not wire.sent[-1]["more_body"]
    assert len(wire.bodies) == 2


async def test_a_comment_that_nobody_reads_ends_the_stream() -> None:
    wire, stalled, take = Wire(), asyncio.Event(), Wire.send

    async def send(message: Message) -> None:
        if stalled.is_set():
            await take(wire, message)
        stalled.set()
        raise StalledClient()

    wire.send = send  # type: ignore[method-assign]
    with pytest.raises(StalledClient):
        async with stream(wire, keepalive=0) as events:
            await stalled.wait()
            with pytest.raises(StalledClient):
                await events.write(b"data: 1\n\n")
            raise EngineFailed("died")
    # what comes after a gap would be misread
    assert wire.sent == []


async def test_cancelled_while_the_client_does_not_read() -> None:
    wire = Wire()
    wire.open.clear()

    async def work() -> None:
        async with stream(wire, keepalive=0):
            await asyncio.Event().wait()

    before = asyncio.all_tasks()
    task = asyncio.create_task(work())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert wire.sent == []
    assert asyncio.all_tasks() == before
