"""A listener that is full, and one whose process has no file descriptor left."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.server import Reserve
from service.server.acceptor import PAUSE_SECONDS, TELL_EVERY
from tests.service.server.site import GET, App, error_of, serving, turns

pytestmark = pytest.mark.anyio


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """The process may open nothing more, except in the place of what it closes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    held = []
    # below the highest that is open there may be gaps
    highest = max(map(int, os.listdir("/proc/self/fd")))
    while lowest < highest:
        held.append(os.dup(0))
        lowest = os.dup(0)
        os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)


async def test_for_one_more_the_connection_that_waited_longest_is_closed() -> None:
    async with serving(App(), most=2) as site:
        first = await site.connect(GET)
        await first.until(b"200 OK")
        second = await site.connect()
        await first.send(GET)  # now the second has waited longer
        await first.until(b"200 OK")
        third = await site.connect(GET)
        await third.until(b"200 OK")
        assert await second.rest() == b""
        assert site.reasons == ["evicted"] and len(site.connections) == 2


async def test_where_every_connection_works_a_new_one_is_refused_with_503() -> None:
    app = App()
    async with serving(app, most=1) as site:
        busy = await site.connect(b"POST /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        await turns(app.entered.is_set)
        answer = await (await site.connect()).rest()
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n") and b"retry-after: 5" in answer
        assert error_of(answer)["code"] == "too_many_connections"
        assert site.reasons == ["refused"]
        app.go_on.set()
        await busy.until(b"waited")
        await (await site.connect(GET)).until(b"200 OK")


async def test_without_a_descriptor_accepting_pauses_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, pauses = App(), [0]

    def paused() -> None:
        pauses[0] += 1

    async with serving(app, bounds={"paused": paused}) as site:
        late = site.client()
        caplog.clear()
        with no_descriptor_left():
            await site.reach(late)
            await turns(lambda: pauses[0] == 1)
            for _ in range(100):
                await asyncio.sleep(0)
            assert pauses == [1]
            await site.passes(PAUSE_SECONDS, lambda: pauses[0] > TELL_EVERY / 2)
            (line,) = caplog.messages
            assert "Too many open files" in line and "ulimit -n" in line
        site.clock.advance(PAUSE_SECONDS)
        await late.send(GET)
        await late.until(b"200 OK")


async def test_without_a_descriptor_a_connection_that_waits_gives_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(App()) as site:
        idle, late = await site.connect(), site.client()
        caplog.clear()
        with no_descriptor_left():
            await site.reach(late)
            await late.send(GET)
            await late.until(b"200 OK")
            assert await idle.rest() == b""
        assert site.reasons == ["evicted"] and caplog.messages == []


async def test_a_privileged_listener_answers_without_one() -> None:
    app = App()
    async with serving(app, bounds={"reserve": Reserve(2), "privileged": True}) as site:
        busy = await site.connect(b"POST /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        await turns(app.entered.is_set)
        probes = [site.client() for _ in range(5)]
        with no_descriptor_left():
            for probe in probes:
                await site.reach(probe)
                await probe.send(GET)
                await probe.until(b"200 OK")
        app.go_on.set()
        await busy.until(b"waited")


async def test_others_fill_the_reserve_before_they_take_a_descriptor() -> None:
    reserve = Reserve(2)
    async with serving(App(), bounds={"reserve": reserve}) as site:
        idle = await site.connect()
        late = site.client()
        with no_descriptor_left():
            assert reserve.give()
            await site.reach(late)
            await late.send(GET)
            # the one that is free goes to the reserve, and that of the idle connection to the new one
            await late.until(b"200 OK")
            assert await idle.rest() == b""
            assert reserve.give() and reserve.give() and not reserve.give()
    reserve.close()


def test_a_closed_reserve_holds_nothing() -> None:
    before = os.listdir("/proc/self/fd")
    reserve = Reserve(2)
    assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    reserve.close()
    reserve.fill()
    assert os.listdir("/proc/self/fd") == before
