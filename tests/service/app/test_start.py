"""What is told of an engine that is lost in the test before readiness."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from service.app.prepare import prepare
from service.app.start import Start
from service.engine.launcher import Launch
from service.engine.supervisor import End, EndReason, EngineSupervisor
from service.errors import ConfigurationError, EngineLost, EngineUnavailable
from service.pipeline.chat import Pipeline
from service.settings import load

pytestmark = pytest.mark.anyio


class Pipe:
    """Of a pipeline, what the test asks; its engine is lost at the first `losses` requests."""

    def __init__(self, losses: int) -> None:
        self.asked = 0
        self._losses = losses

    async def chat(self, *_: object) -> Answer:
        self.asked += 1
        if self.asked <= self._losses:
            raise EngineLost("The engine was lost.", retry_after=1.0)
        return Answer()


class Answer:
    images = ()

    async def body(self) -> AsyncIterator[bytes]:
        yield json.dumps({"usage": {"prompt_tokens": 10_000}}).encode()

    async def aclose(self) -> None:
        return None


class Ending(EngineSupervisor):
    def __init__(self, end: End | None) -> None:
        super().__init__(Launch((), {}), cast(Any, None))
        self.waited: list[float] = []
        self._end = end

    async def last_end(self, timeout: float) -> End | None:
        return self._end

    async def wait_ready(self, timeout: float) -> None:
        self.waited.append(timeout)


class Tried:
    """A start whose engine is ready, up to the end of its test."""

    def __init__(self, end: End | None, losses: int) -> None:
        self.said: list[str] = []
        self.pipe = Pipe(losses)
        self.life = Ending(end)
        settings = load({"images": "passthrough", "device": "cpu", "engine_start_timeout": 70}, {})
        self._start = Start(prepare(settings), cast(Any, None), cast(Any, None), self.said.append)
        self._start.life = self.life

    async def run(self) -> None:
        await self._start._checked(cast(Pipeline, self.pipe))

    async def refused(self) -> str:
        with pytest.raises((ConfigurationError, EngineUnavailable)) as error:
            await self.run()
        return str(error.value.message)


def exited(*lines: str) -> End:
    return End(EndReason.EXIT, "exited with status 1", "\n".join(lines))


HUNG = End(EndReason.UNHEALTHY, "did not answer 5 health checks in a row", "shutting down")


async def test_its_own_reason() -> None:
    tried = Tried(exited("RuntimeError: odd shapes"), losses=1)
    assert await tried.refused() == (
        "the engine was ready, and at the first request exited with status 1. Its last log lines:\n"
        "RuntimeError: odd shapes"
    )
    assert tried.said == ["the engine is up; testing with one image"]
    assert tried.pipe.asked == 1


async def test_an_operation_that_nobody_registered_is_explained() -> None:
    tried = Tried(exited("…", "AttributeError: '_OpNamespace' '_C' object has no attribute 'scan'"), losses=1)
    assert (await tried.refused()).endswith(
        "no attribute 'scan'\nThis build of vLLM lacks an operation that the model needs; that for GPUs may have it."
    )


async def test_an_engine_that_has_not_ended_has_no_reason() -> None:
    assert await Tried(None, losses=1).refused() == "The engine was lost."


async def test_one_that_hung_gets_a_second_chance() -> None:
    tried = Tried(HUNG, losses=1)
    await tried.run()
    assert tried.pipe.asked == 2
    assert tried.life.waited == [70]
    assert tried.said[1:] == ["the engine hung at the first request; once more with a new one"]


async def test_and_no_third() -> None:
    tried = Tried(HUNG, losses=2)
    assert (await tried.refused()).startswith(
        "the engine was ready, and at the first request did not answer 5 health checks in a row."
    )
    assert tried.pipe.asked == 2
