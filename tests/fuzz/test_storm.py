"""A short storm with a fixed seed; `make fuzz` is the long one."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.e2e.server import Server
from tests.fuzz.corpus import mutated
from tests.fuzz.storm import storm

REQUESTS, SEED = 400, 12


def test_requests_come_from_their_seed() -> None:
    assert mutated(random.Random("1 2")) == mutated(random.Random("1 2"))
    assert len({mutated(random.Random(f"1 {n}")) for n in range(50)}) > 45


@pytest.mark.e2e
def test_a_storm_leaves_the_service_as_it_was(patchbay: Server) -> None:
    restarts = patchbay.metric("patchbay_engine_restarts_total")
    seen = asyncio.run(storm(patchbay.url, REQUESTS, SEED))
    assert sum(seen.statuses.values()) == REQUESTS
    assert seen.unplanned == []
    assert seen.failed_probes == 0
    assert seen.statuses[200] > REQUESTS // 50 and seen.statuses[400] > REQUESTS // 5
    assert patchbay.metric("patchbay_engine_restarts_total") == restarts
    assert patchbay.metric("patchbay_inflight") == 0
