"""What is told of an engine that is lost in the test before readiness."""

from __future__ import annotations

from typing import Any, cast

import pytest

from service.app.prepare import prepare
from service.app.start import Start
from service.engine.launcher import Launch
from service.engine.supervisor import EngineSupervisor
from service.errors import ConfigurationError, EngineLost, EngineUnavailable
from service.pipeline.chat import Pipeline
from service.settings import load

pytestmark = pytest.mark.anyio


class Lost:
    """A pipeline whose engine dies of every request."""

    async def chat(self, *_: object) -> Any:
        raise EngineLost("The engine was lost.", retry_after=1.0)


class Ended(EngineSupervisor):
    def __init__(self, end: str | None) -> None:
        super().__init__(Launch((), {}), cast(Any, None))
        self._end = end

    async def last_end(self, timeout: float) -> str | None:
        return self._end


async def refused(end: str | None) -> str:
    said: list[str] = []
    start = Start(
        prepare(load({"images": "passthrough", "device": "cpu"}, {})),
        cast(Any, None),
        cast(Any, None),
        said.append,
    )
    start.life = Ended(end)
    with pytest.raises((ConfigurationError, EngineUnavailable)) as error:
        await start._checked(cast(Pipeline, Lost()))
    assert said == ["the engine is up; testing with one image"]
    return str(error.value.message)


async def test_its_own_reason() -> None:
    told = await refused("exited with status 1. Its last log lines:\nRuntimeError: odd shapes")
    assert told == (
        "the engine was ready, and at the first request exited with status 1. Its last log lines:\n"
        "RuntimeError: odd shapes"
    )


async def test_an_operation_that_nobody_registered_is_explained() -> None:
    told = await refused(
        "exited with status 0. …\nAttributeError: '_OpNamespace' '_C' object has no attribute 'scan'"
    )
    assert told.endswith(
        "no attribute 'scan'\nThis build of vLLM lacks an operation that the model needs; that for GPUs may have it."
    )


async def test_an_engine_that_has_not_ended_has_no_reason() -> None:
    assert await refused(None) == "The engine was lost."
