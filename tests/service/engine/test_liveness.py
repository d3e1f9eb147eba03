"""Progress of an engine that is a stand-in: answered probes, steps, and CPU time, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from service.engine.liveness import FIRST, Liveness
from service.errors import EngineFailed, EngineUnavailable
from tests.service.fakes import Reply

pytestmark = pytest.mark.anyio
STALL = 12.0


class Engine:
    """Its server answers; whether probes are answered, and its steps, are the test's to say."""

    def __init__(self) -> None:
        self.now = 0.0
        self.server_up = True
        self.answering = asyncio.Event()
        self.answering.set()
        self.status = 200
        self.failure: BaseException | None = None
        self.steps: int | None = 0
        self.used = 0.0
        self.probes: list[Mapping[str, Any]] = []

    async def health(self) -> bool:
        return self.server_up

    async def post(self, route: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
        assert headers["traceparent"].endswith("-00")
        self.probes.append(payload)
        await self.answering.wait()
        if self.failure is not None:
            raise self.failure
        return Reply(b"{}", status=self.status)

    async def get(self, route: str) -> Reply:
        if self.steps is None:
            return Reply(b"nothing")
        count = f'vllm:iteration_tokens_total_count{{engine="0",model_name="m"}} {self.steps}.0\n'
        return Reply(b"# HELP\n" + count.encode())


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    yield Engine()


def liveness(engine: Engine, **options: Any) -> Liveness:
    return Liveness(engine, "m", stall_timeout=STALL, clock=lambda: engine.now, **options)


async def healthy_for(engine: Engine, live: Liveness, seconds: int) -> int:
    """Polls each second; the seconds after which the engine was no longer healthy, at most `seconds`."""
    for second in range(seconds):
        engine.now += 1
        if not await live.health():
            return second + 1
        # the probe, if there is one, gets as far as it can
        for _ in range(5):
            await asyncio.sleep(0)
    return seconds


async def test_an_engine_that_answers_probes_is_healthy_and_probed_every_few_seconds(engine: Engine) -> None:
    live = liveness(engine)
    assert await healthy_for(engine, live, 60) == 60
    assert len(engine.probes) == 60 // 4
    assert engine.probes[0] == {
        "model": "m",
        "prompt": [1, 1],
        "max_tokens": 1,
        "temperature": 0,
        "ignore_eos": True,
    }
    assert live.stalls == 0


async def test_with_priorities_a_probe_comes_first(engine: Engine) -> None:
    await healthy_for(engine, liveness(engine, by_priority=True), 5)
    assert engine.probes[0]["priority"] == FIRST


async def test_a_stopped_engine_is_noticed_in_time_and_recovers_when_it_goes_on(engine: Engine) -> None:
    live = liveness(engine)
    await healthy_for(engine, live, 30)
    engine.answering.clear()
    assert await healthy_for(engine, live, 60) <= STALL
    assert not await live.health()
    assert live.stalls == 1
    engine.answering.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert await live.health()
    await live.aclose()


async def test_a_gateway_that_stood_still_itself_does_not_blame_the_engine(engine: Engine) -> None:
    live = liveness(engine)
    for seconds in (STALL, 10 * STALL):
        await healthy_for(engine, live, 5)
        engine.now += seconds
        assert await healthy_for(engine, live, 30) == 30
    assert live.stalls == 0
    engine.answering.clear()
    engine.now += 10 * STALL
    assert await healthy_for(engine, live, 30) <= 3
    await live.aclose()


async def test_a_probe_that_waits_behind_others_is_no_stall(engine: Engine) -> None:
    live = liveness(engine)
    engine.answering.clear()
    for _ in range(60):
        engine.steps = (engine.steps or 0) + 1
        assert await healthy_for(engine, live, 1) == 1 and await live.health()
    await live.aclose()


async def test_an_engine_without_a_step_counter_needs_its_probes_answered(engine: Engine) -> None:
    engine.steps = None
    live = liveness(engine)
    assert await healthy_for(engine, live, 30) == 30
    engine.answering.clear()
    assert await healthy_for(engine, live, 30) <= STALL
    await live.aclose()


async def test_a_long_step_on_a_cpu_is_no_stall_until_it_is_very_long(engine: Engine) -> None:
    live = liveness(engine, cpu_seconds=lambda: engine.used)
    engine.answering.clear()
    lasted = 0
    while lasted < 1000 and await healthy_for(engine, live, 1) and await live.health():
        engine.used += 0.9
        lasted += 1
    assert 10 * STALL <= lasted <= 13 * STALL
    await live.aclose()


async def test_an_idle_process_is_no_long_step(engine: Engine) -> None:
    live = liveness(engine, cpu_seconds=lambda: engine.used)
    engine.answering.clear()
    assert await healthy_for(engine, live, 60) <= STALL
    await live.aclose()


@pytest.mark.parametrize("failure", [EngineFailed("x"), EngineUnavailable("x", retry_after=1)])
async def test_probes_that_fail_are_not_progress(engine: Engine, failure: BaseException) -> None:
    engine.failure = failure
    assert await healthy_for(engine, liveness(engine), 60) <= STALL


async def test_probes_that_end_in_a_server_error_are_not_progress(engine: Engine) -> None:
    engine.status = 500
    assert await healthy_for(engine, liveness(engine), 60) <= STALL


async def test_an_engine_that_refuses_probes_is_not_watched(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.status = 404
    live = liveness(engine)
    assert await healthy_for(engine, live, 60) == 60
    assert len(engine.probes) == 1
    assert "refuses probes (status 404)" in caplog.text


async def test_a_server_that_does_not_answer_is_unhealthy_and_starts_afresh(engine: Engine) -> None:
    live = liveness(engine)
    engine.answering.clear()
    await healthy_for(engine, live, 60)
    engine.server_up = False
    assert not await live.health()
    engine.server_up = True
    assert await live.health()
    assert live.stalls == 1
    await live.aclose()
