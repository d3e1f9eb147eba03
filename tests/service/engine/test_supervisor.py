"""The supervisor over real processes: a small server that dies, falls silent or does not start when told to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from service.engine.child import Child
from service.engine.client import VLLMClient
from service.engine.launcher import Launch
from service.engine.oom import LATELY
from service.engine.supervisor import EndReason, EngineState, EngineSupervisor, Pace
from service.errors import ConfigurationError, EngineUnavailable
from tests.waiting import DEADLOCK, until

pytestmark = pytest.mark.anyio

FAKE = Path(__file__).with_name("fake_engine.py")
STARTING, READY, DOWN = EngineState.STARTING, EngineState.READY, EngineState.DOWN
PACE = Pace(starting_poll=0.01, ready_poll=0.01, unhealthy_polls=10_000, grace=30.0, start_timeout=60.0)


class World:
    """A supervisor of a fake engine, its states as they came, and a clock that only the test moves."""

    def __init__(self, folder: Path, pace: Pace) -> None:
        port = free_port()
        self.now = 0.0
        self.slept: list[float] = []
        self.states: list[EngineState] = []
        self.broken = folder / "broken"
        self.oom_kills = 7
        self.client = VLLMClient(f"http://127.0.0.1:{port}")
        self.during_backoff: Callable[[], None] = lambda: None
        self._pace = pace
        self._changed = asyncio.Condition()
        argv = (sys.executable, "-S", str(FAKE), str(port), str(folder))
        self.supervisor = EngineSupervisor(
            Launch(argv, {"PYTHONUNBUFFERED": "1"}),
            self.client.health,
            on_state=self._seen,
            pace=pace,
            clock=lambda: self.now,
            sleep=self._sleep,
            oom_kills=lambda: self.oom_kills,
        )

    def _seen(self, state: EngineState) -> None:
        self.states.append(state)

    async def _sleep(self, seconds: float) -> None:
        if seconds in (self._pace.starting_poll, self._pace.ready_poll):
            await asyncio.sleep(seconds)
        else:
            self.slept.append(seconds)
            self.now += seconds
            self.during_backoff()

    async def ready(self) -> int:
        """Waits for readiness; returns the server's process id."""
        await self.supervisor.wait_ready(timeout=DEADLOCK)
        return await self.tell("/pid")

    async def tell(self, route: str) -> int:
        reply = await self.client.get(route)
        try:
            return int(b"".join([chunk async for chunk in reply.body()]))
        finally:
            await reply.aclose()

    async def kill(self) -> None:
        """Ends the server from within, and waits until the supervisor has seen it."""
        with suppress(EngineUnavailable):
            await self.tell("/die")
        await until(lambda: self.supervisor.state is not READY)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., World]]:
    worlds: list[World] = []

    def made(**pace: float) -> World:
        worlds.append(World(tmp_path, replace(PACE, **pace)))
        return worlds[-1]

    yield made
    for world in worlds:
        await world.supervisor.stop()
        await world.client.aclose()


Make = Callable[..., World]


async def test_it_becomes_ready_and_stops_without_a_trace(make: Make) -> None:
    world = make()
    world.supervisor.start()
    await world.supervisor.started()
    pid = await world.ready()
    await world.supervisor.stop()
    assert world.states == [STARTING, READY, DOWN, EngineState.STOPPED]
    assert not any(world.supervisor.ends.values()), "to be told to stop is no end of that kind"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert world.supervisor.restarts == 0


async def test_a_dead_engine_is_started_again_at_once(make: Make) -> None:
    world = make()
    world.supervisor.start()
    first = await world.ready()
    await world.kill()
    second = await world.ready()
    assert second != first
    assert world.states == [STARTING, READY, DOWN, STARTING, READY]
    assert world.supervisor.restarts == 1
    assert world.slept == [0.0]


async def test_a_kill_9_is_seen_and_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    world = make()
    world.supervisor.start()
    os.kill(await world.ready(), signal.SIGKILL)
    await until(lambda: world.supervisor.restarts == 1)
    assert "the engine was killed by signal 9; restarting it in 0 s" in caplog.text
    assert {reason: count for reason, count in world.supervisor.ends.items() if count} == {
        EndReason.SIGNAL: 1
    }


async def test_a_process_that_was_killed_for_want_of_memory_is_told(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make()
    world.supervisor.start()
    await world.ready()
    world.oom_kills += 1
    await world.kill()
    await world.ready()
    assert ", and the kernel killed a process for want of memory; restarting it in 0 s" in caplog.text
    world.now += LATELY  # what happened before is no reason any more
    await world.kill()
    await world.ready()
    counted = {reason: count for reason, count in world.supervisor.ends.items() if count}
    assert counted == {EndReason.OOM: 1, EndReason.EXIT: 1}


async def test_each_recovery_is_told_with_its_seconds(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service.engine.supervisor")
    world = make()
    world.supervisor.start()
    await world.ready()
    await world.kill()
    await world.ready()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert told == ["the engine is ready after 0 s"] * 2


async def test_a_killed_reaper_takes_the_engine_with_it(make: Make) -> None:
    world = make()
    world.supervisor.start()
    first = await world.ready()
    os.kill(await world.tell("/parent"), signal.SIGKILL)
    await until(lambda: world.supervisor.restarts == 1)
    # it could not listen on the same port, nor would the process id differ, if the first were alive
    assert await world.ready() != first


async def test_backoff_doubles_up_to_its_bound_and_a_stable_life_resets_it(make: Make) -> None:
    world = make(first_backoff=1.0, most_backoff=5.0, stable=100.0)
    world.supervisor.start()
    await world.ready()
    world.broken.touch()
    world.during_backoff = lambda: world.broken.unlink() if len(world.slept) == 6 else None
    await world.kill()
    await world.ready()
    assert world.slept == [0.0, 1.0, 2.0, 4.0, 5.0, 5.0]

    world.now += 99.0  # ready, but not for long enough
    await world.kill()
    await world.ready()
    assert world.slept[6:] == [5.0]

    world.now += 100.0
    await world.kill()
    await world.ready()
    assert world.slept[7:] == [0.0]


async def test_an_engine_that_never_becomes_ready_is_given_up_with_its_last_log_lines(make: Make) -> None:
    world = make()
    world.broken.touch()
    world.supervisor.start()
    with pytest.raises(ConfigurationError) as caught:
        await world.supervisor.started()
    assert "exited with status 1" in caught.value.message
    assert caught.value.message.splitlines()[1:] == ["ValueError: no such checkpoint"]
    assert world.states == [STARTING, DOWN, STARTING, EngineState.FAILED]
    assert world.supervisor.restarts == 1
    assert world.supervisor.ends[EndReason.EXIT] == sum(world.supervisor.ends.values()) == 2


async def test_how_a_run_ended_is_told_to_whoever_waits_for_it(make: Make) -> None:
    world = make()
    world.supervisor.start()
    await world.ready()
    assert await world.supervisor.last_end(timeout=0) is None
    await world.kill()
    end = await world.supervisor.last_end(timeout=DEADLOCK)
    assert end is not None and end.reason is EndReason.EXIT
    assert str(end).startswith("exited with status 7. Its last log lines:\n")
    assert "one request failed" in end.lines


async def test_a_run_that_is_ready_again_has_not_ended(make: Make) -> None:
    world = make()
    world.supervisor.start()
    await world.ready()
    await world.kill()
    assert await world.supervisor.last_end(timeout=DEADLOCK) is not None
    await world.ready()
    assert await world.supervisor.last_end(timeout=0) is None


async def test_a_start_that_takes_too_long_is_ended(make: Make) -> None:
    world = make(start_timeout=50.0, start_attempts=1)

    async def silent() -> bool:
        world.now += 20.0
        return False

    world.supervisor._health = silent
    world.supervisor.start()
    with pytest.raises(ConfigurationError, match="was not ready after 50 s"):
        await world.supervisor.started()


async def test_an_engine_that_says_it_is_unwell_is_down_at_once_and_restarted_after_some_polls(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make(unhealthy_polls=3)
    world.supervisor.start()
    first = await world.ready()
    await world.tell("/mute")
    assert not await world.supervisor.alive()
    assert world.supervisor.state is DOWN
    assert await world.ready() != first
    assert "did not answer 3 health checks in a row" in caplog.text
    assert world.states == [STARTING, READY, DOWN, STARTING, READY]


async def test_an_engine_that_hangs_is_killed_and_restarted(make: Make) -> None:
    world = make(unhealthy_polls=1, grace=0.1)
    answers, hangs = world.client.health, asyncio.Event()

    async def given_up_when_it_hangs() -> bool:
        if world.supervisor.restarts:
            return await answers()
        asked, given_up = asyncio.ensure_future(answers()), asyncio.ensure_future(hangs.wait())
        await asyncio.wait({asked, given_up}, return_when=asyncio.FIRST_COMPLETED)
        given_up.cancel()
        if asked.done():
            return asked.result()
        asked.cancel()
        return False

    world.supervisor._health = given_up_when_it_hangs
    world.supervisor.start()
    first = await world.ready()
    await world.tell("/hang")
    hangs.set()
    assert await world.ready() != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_one_missed_poll_drops_readiness_and_the_next_answer_restores_it(make: Make) -> None:
    world = make()
    world.supervisor.start()
    first = await world.ready()
    answers, missed = world.client.health, []

    async def once_unwell() -> bool:
        if not missed:
            missed.append(True)
            return False
        return await answers()

    world.supervisor._health = once_unwell
    await until(lambda: world.states[2:] == [DOWN, READY])
    assert await world.ready() == first
    assert world.supervisor.restarts == 0


async def test_waiting_for_an_engine_that_is_down_ends_with_the_time_to_come_back(make: Make) -> None:
    world = make(expected_start=40.0)
    with pytest.raises(EngineUnavailable) as caught:
        await world.supervisor.wait_ready(timeout=0.01)
    assert caught.value.retry_after == 40.0
    assert caught.value.message == "The engine is down."
    world.now = 30.0
    assert world.supervisor.retry_after() == 10.0
    world.now = 100.0
    assert world.supervisor.retry_after() == 1.0


async def test_the_time_to_come_back_is_learnt_from_the_last_start(make: Make) -> None:
    world = make(expected_start=1000.0, start_timeout=1e9)
    answers = world.client.health

    async def slow_to_start() -> bool:
        if world.supervisor.state is STARTING:
            world.now += 12.0
        return await answers()

    world.supervisor._health = slow_to_start
    world.supervisor.start()
    await world.ready()
    measured = world.now
    assert measured >= 12.0 and world.supervisor.retry_after() == 1.0

    world.broken.touch()
    await world.kill()
    await until(lambda: len(world.slept) >= 2)
    assert 1.0 < world.supervisor.retry_after() <= measured + world.slept[-1]
    world.broken.unlink()


@pytest.mark.parametrize(
    ("was_ready", "timeout", "waits"), [(True, 1e6, False), (True, 1e8, True), (False, 1e6, True)]
)
async def test_nobody_waits_for_a_restart_that_takes_longer_than_they_would(
    make: Make, was_ready: bool, timeout: float, waits: bool
) -> None:
    """The first start is waited for as long as is allowed: nobody knows how long it takes."""
    world = make(expected_start=1e7)
    world.supervisor._was_ready = was_ready
    waiting = asyncio.create_task(world.supervisor.wait_ready(timeout))
    if waits:
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
    else:
        await until(waiting.done)
        with pytest.raises(EngineUnavailable) as caught:
            await waiting
        assert caught.value.retry_after == 1e7


async def test_an_engine_whose_processes_are_being_ended_is_expected_after_another_start(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(start_timeout=1e9)
    answers = world.client.health

    async def slow_to_start() -> bool:
        if world.supervisor.state is STARTING:
            world.now += 12.0
        return await answers()

    world.supervisor._health = slow_to_start
    world.supervisor.start()
    await world.ready()
    world.now += 3600.0
    expected: list[float] = []
    end = Child.end

    async def ending(child: Child) -> None:
        expected.append(world.supervisor.retry_after())
        await end(child)

    monkeypatch.setattr(Child, "end", ending)
    await world.kill()
    await world.ready()
    assert expected[0] >= 12.0


async def test_the_engines_log_is_ours_by_severity(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "service.engine")
    world = make()
    world.broken.touch()
    world.during_backoff = world.broken.unlink
    world.supervisor.start()
    await world.ready()
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels["engine: (APIServer pid=1) INFO 01-31 12:00:00 [a.py:1] listening"] == "DEBUG"
    assert levels["engine: (EngineCore pid=2) ERROR 01-31 12:00:00 [b.py:2] one request failed"] == "WARNING"
    assert any("exited with status 1" in text and level == "ERROR" for text, level in levels.items())


async def test_tracebacks_are_shown_from_when_it_is_asked_for(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "service.engine")

    def levels() -> list[str]:
        return [
            record.levelname
            for record in caplog.records
            if record.name == "service.engine.child" and "Traceback" in record.getMessage()
        ]

    world = make()
    world.supervisor.start()
    await world.ready()
    await world.tell("/traceback")
    await until(lambda: levels() == ["DEBUG"])
    world.supervisor.show_tracebacks()
    await world.tell("/traceback")
    await until(lambda: levels() == ["DEBUG", "WARNING"])
    await world.kill()
    await world.ready()
    await world.tell("/traceback")
    await until(lambda: levels() == ["DEBUG", "WARNING", "WARNING"])
