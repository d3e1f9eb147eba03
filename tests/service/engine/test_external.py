"""An engine of somebody else's, whose health is told by a list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from service.engine.external import ExternalEngine
from service.errors import EngineUnavailable

pytestmark = pytest.mark.anyio


class Client:
    """Healthy or not as the list says; its last word lasts, and `spent` is set when it was said."""

    def __init__(self, *health: bool) -> None:
        self._health = list(health)
        self.spent = asyncio.Event()

    async def health(self) -> bool:
        if len(self._health) > 1:
            return self._health.pop(0)
        self.spent.set()
        return self._health[0]


async def seen(*health: bool, then: Callable[[ExternalEngine], int]) -> int:
    """What an engine says of itself after `health` was seen."""
    client = Client(*health)
    engine = ExternalEngine(client, every=0)
    watching = asyncio.create_task(engine.watch())
    try:
        await client.spent.wait()
        await asyncio.sleep(0)
        return then(engine)
    finally:
        watching.cancel()


async def test_it_is_ready_until_it_was_missed_twice_in_a_row() -> None:
    assert ExternalEngine(Client(True)).ready
    assert await seen(True, False, True, then=lambda engine: engine.ready)
    assert not await seen(True, False, False, False, then=lambda engine: engine.ready)
    assert await seen(False, False, False, True, then=lambda engine: engine.ready)


async def test_waiting_ends_when_it_answers_or_the_time_is_up() -> None:
    await ExternalEngine(Client(True)).wait_ready(1)
    with pytest.raises(EngineUnavailable, match="engine_url is not responding") as refused:
        await ExternalEngine(Client(False)).wait_ready(0.01)
    assert refused.value.retry_after > 0


async def test_alive_is_asked_anew() -> None:
    engine = ExternalEngine(Client(True, False))
    assert await engine.alive()
    assert not await engine.alive()


async def test_coming_back_after_an_outage_counts_as_another_run() -> None:
    assert await seen(True, True, then=lambda engine: engine.incarnation) == 0
    assert await seen(True, False, True, then=lambda engine: engine.incarnation) == 0
    assert (
        await seen(True, False, False, True, False, False, True, then=lambda engine: engine.incarnation) == 2
    )
