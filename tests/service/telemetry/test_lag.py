"""Lag is what a sleep takes longer than asked."""

from __future__ import annotations

import asyncio

import pytest

from service.telemetry.lag import PERIOD, watch_lag

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_what_a_sleep_takes_longer_is_observed() -> None:
    late = iter([0.0, 0.25, -0.1])
    now, seen = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        assert seconds == PERIOD
        extra = next(late, None)
        if extra is None:
            raise asyncio.CancelledError
        now += seconds + extra

    with pytest.raises(asyncio.CancelledError):
        await watch_lag(seen.append, clock=lambda: now, sleep=sleep)
    assert seen == pytest.approx([0.0, 0.25, 0.0])
